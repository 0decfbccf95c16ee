"""`cartstream topics apply` and `check` on a real broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidTimestampError, KafkaConnectionError, MessageSizeTooLargeError
from click.testing import CliRunner

from cli.topics import topics as command
from devstack.free_ports import free_ports
from runtime.settings import KafkaSettings
from tests.support.topics import make_topics
from tests.support.waiting import PATIENCE_S, until
from topics.apply import apply, check, errors_in, require
from topics.errors import ClusterUnreachableError, TopicsDifferError, TopicsRefusedError
from topics.plan import Severity
from topics.registry import CART_CHANGED, CARTS, TopicSpec


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """The way to the session's broker."""
    return KafkaSettings(kafka_bootstrap=kafka_bootstrap)


@pytest.fixture
def specs() -> list[TopicSpec]:
    """`cart-changed` and `carts` under names of the test's own."""
    mark = uuid4().hex[:8]
    return [msgspec.structs.replace(spec, name=f"{spec.name}-{mark}") for spec in (CART_CHANGED, CARTS)]


@pytest.fixture
async def admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, to look and to meddle."""
    client = AIOKafkaAdminClient(**kafka.client_options())
    await client.start()
    yield client
    await client.close()


async def configs(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    entries = response.to_object()["resources"][0]["config_entries"]
    return {entry["config_names"]: entry["config_value"] for entry in entries}


async def test_apply_creates_what_is_missing_with_its_settings_and_check_agrees(
    kafka: KafkaSettings, specs: list[TopicSpec], admin: AIOKafkaAdminClient
) -> None:
    before = await check(kafka, partitions=3, allow_single=True, specs=specs)
    assert [diff.found for diff in errors_in(before)] == ["missing", "missing"]

    applied = await apply(kafka, partitions=3, allow_single=True, specs=specs)

    assert applied.created == [spec.name for spec in specs]
    for spec in specs:
        assert spec.configs(replicas=1).items() <= (await configs(admin, spec.name)).items()
        (described,) = await admin.describe_topics([spec.name])
        assert [part["leader"] >= 0 for part in described["partitions"]] == [True] * 3
    assert errors_in(await check(kafka, partitions=3, allow_single=True, specs=specs)) == []


async def test_applying_twice_changes_nothing(kafka: KafkaSettings, specs: list[TopicSpec]) -> None:
    await apply(kafka, partitions=2, allow_single=True, specs=specs)
    again = await apply(kafka, partitions=2, allow_single=True, specs=specs)
    assert (again.created, again.altered) == ([], [])


async def test_two_applies_at_once_do_not_fail(kafka: KafkaSettings, specs: list[TopicSpec]) -> None:
    await asyncio.gather(*(apply(kafka, partitions=2, allow_single=True, specs=specs) for _ in range(3)))
    assert errors_in(await check(kafka, partitions=2, allow_single=True, specs=specs)) == []


async def test_apply_mends_settings_that_differ_and_keeps_those_of_others(
    kafka: KafkaSettings, specs: list[TopicSpec], admin: AIOKafkaAdminClient
) -> None:
    changed = specs[0]
    await apply(kafka, partitions=2, allow_single=True, specs=specs)
    meddled = {"retention.ms": "1000", "unclean.leader.election.enable": "true", "flush.messages": "7"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, changed.name, meddled)])

    async def differing() -> set[str]:
        found = errors_in(await check(kafka, partitions=2, allow_single=True, specs=specs))
        return {diff.setting for diff in found}

    async def is_meddled_with() -> bool:
        return {"retention.ms", "unclean.leader.election.enable"} <= await differing()

    # A broker learns of settings a moment after the controller has them.
    await until(is_meddled_with, "the settings differ")
    applied = await apply(kafka, partitions=2, allow_single=True, specs=specs)

    assert {diff.topic for diff in applied.altered} == {changed.name}
    assert await differing() == set()
    now = await configs(admin, changed.name)
    assert (now["retention.ms"], now["flush.messages"]) == (str(changed.retention_ms), "7")


async def test_another_number_of_partitions_stops_apply_before_it_changes_anything(
    kafka: KafkaSettings, specs: list[TopicSpec], admin: AIOKafkaAdminClient
) -> None:
    await make_topics(admin, NewTopic(specs[0].name, 5, 1))
    with pytest.raises(TopicsDifferError, match="partitions is 5, expected 3"):
        await apply(kafka, partitions=3, allow_single=True, specs=specs)
    assert specs[1].name not in await admin.list_topics()
    with pytest.raises(TopicsDifferError, match="CARTSTREAM_PARTITIONS=5"):
        await require(kafka, partitions=3, specs=specs[:1])


async def test_one_broker_is_refused_unless_allowed(
    kafka: KafkaSettings, specs: list[TopicSpec], admin: AIOKafkaAdminClient
) -> None:
    with pytest.raises(TopicsDifferError, match="--allow-single"):
        await apply(kafka, partitions=1, specs=specs)
    assert specs[0].name not in await admin.list_topics()
    await apply(kafka, partitions=1, allow_single=True, specs=specs)
    strict = await check(kafka, partitions=1, specs=specs)
    assert {(diff.setting, diff.severity) for diff in strict} == {("replication", Severity.ERROR)}


async def test_more_copies_than_brokers_are_refused_by_name(
    kafka: KafkaSettings, specs: list[TopicSpec]
) -> None:
    with pytest.raises(TopicsRefusedError, match=specs[0].name):
        await apply(kafka, partitions=1, replicas=3, allow_single=True, specs=specs)


async def test_a_process_does_not_start_without_its_topics(
    kafka: KafkaSettings, specs: list[TopicSpec]
) -> None:
    with pytest.raises(TopicsDifferError, match="cartstream topics apply"):
        await require(kafka, partitions=2, specs=specs)
    await apply(kafka, partitions=2, allow_single=True, specs=specs)
    await require(kafka, partitions=2, specs=specs)


async def test_a_cluster_that_does_not_answer_is_named() -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with pytest.raises(ClusterUnreachableError, match=address):
        await check(KafkaSettings(kafka_bootstrap=address))


async def test_a_cluster_that_answers_by_now_is_not_said_to_want_something_else(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(_: AIOKafkaAdminClient) -> None:
        raise KafkaConnectionError("Unable to bootstrap")

    monkeypatch.setattr(AIOKafkaAdminClient, "start", start)
    with pytest.raises(ClusterUnreachableError, match=r"did not answer \(it does now, a moment ago"):
        await check(kafka)


async def test_the_broker_refuses_a_change_published_too_late_and_takes_one_in_time(
    kafka: KafkaSettings, specs: list[TopicSpec]
) -> None:
    await apply(kafka, partitions=1, allow_single=True, specs=specs)
    now_ms = int(time.time() * 1000)
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        await producer.send_and_wait(specs[0].name, b"{}", partition=0, timestamp_ms=now_ms - 2_000)
        with pytest.raises(InvalidTimestampError):
            await producer.send_and_wait(specs[0].name, b"{}", partition=0, timestamp_ms=now_ms - 60_000)
        with pytest.raises(InvalidTimestampError):
            await producer.send_and_wait(specs[0].name, b"{}", partition=0, timestamp_ms=now_ms + 60_000)


async def test_carts_takes_a_record_of_four_mebibytes_and_no_larger(
    kafka: KafkaSettings, specs: list[TopicSpec]
) -> None:
    await apply(kafka, partitions=1, allow_single=True, specs=specs)
    name = specs[1].name
    async with AIOKafkaProducer(**kafka.client_options(), acks="all", max_request_size=8 << 20) as producer:
        sent = await producer.send_and_wait(name, b"x" * ((4 << 20) - 1024), key=b"k", partition=0)
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(name, b"x" * (4 << 20), key=b"k", partition=0)
    consumer = AIOKafkaConsumer(**kafka.client_options(), max_partition_fetch_bytes=1 << 20)
    consumer.assign([TopicPartition(name, 0)])
    async with consumer:
        consumer.seek(TopicPartition(name, 0), sent.offset)
        record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    assert len(record.value) == (4 << 20) - 1024


def test_the_command_applies_and_checks(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_BOOTSTRAP", kafka_bootstrap)
    runner = CliRunner()
    applied = runner.invoke(command, ["apply", "--allow-single", "--json"])
    assert applied.exit_code == 0, applied.output
    assert set(json.loads(applied.stdout)) == {"created", "altered", "warnings"}
    checked = runner.invoke(command, ["check", "--allow-single"])
    assert checked.exit_code == 0
    assert "8 topics, 0 errors, 8 warnings" in checked.output
    strict = runner.invoke(command, ["check", "--json"])
    assert strict.exit_code == 1
    assert not json.loads(strict.stdout)["ok"]


def test_the_command_says_what_is_in_the_way(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_KAFKA_BOOTSTRAP", kafka_bootstrap)
    runner = CliRunner()
    runner.invoke(command, ["apply", "--allow-single"])
    monkeypatch.setenv("CARTSTREAM_PARTITIONS", "3")
    refused = runner.invoke(command, ["apply", "--allow-single"])
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.output
