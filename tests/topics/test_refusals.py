"""Clusters that do not take every setting, as managed ones: what they refuse is named, and left out."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import devstack.kafka
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from runtime.settings import KafkaSettings
from tests.support.topics import make_topics
from tests.support.waiting import PATIENCE_S
from topics.apply import apply, check, errors_in, require
from topics.plan import Observed, ObservedTopic, Severity, Wanted
from topics.refusals import Refused, meaning, named
from topics.registry import CART_CHANGED, CARTS, TOPICS, TopicSpec


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """The way to the session's broker."""
    return KafkaSettings(kafka_bootstrap=kafka_bootstrap)


def picky(spec: TopicSpec) -> TopicSpec:
    """The topic under a name of the test's own, with a value and a setting that no broker takes."""
    return msgspec.structs.replace(
        spec,
        name=f"{spec.name}-{uuid4().hex[:8]}",
        settings={**spec.settings, "segment.ms": "-7", "no.such.setting": "1"},
    )


async def test_a_topic_is_created_without_what_the_cluster_refuses(kafka: KafkaSettings) -> None:
    spec = picky(CARTS)
    asked = await apply(kafka, partitions=2, allow_single=True, dry_run=True, specs=[spec])
    applied = await apply(kafka, partitions=2, allow_single=True, specs=[spec])

    for told in (asked, applied):
        assert told.created == [spec.name]
        refused = {diff.setting: diff for diff in told.warnings if "refuses" in diff.advice}
        assert refused.keys() == {"segment.ms", "no.such.setting"}
        assert {diff.severity for diff in refused.values()} == {Severity.WARNING}
        assert "restores take longer" in refused["segment.ms"].advice
    found = {diff.setting for diff in await check(kafka, partitions=2, allow_single=True, specs=[spec])}
    assert found == {"segment.ms", "no.such.setting", "replication"}
    await require(kafka, partitions=2, specs=[spec])


async def test_a_topic_at_work_gets_all_but_what_the_cluster_refuses(kafka: KafkaSettings) -> None:
    old = msgspec.structs.replace(CARTS, name=f"carts-{uuid4().hex[:8]}", settings={})
    await apply(kafka, partitions=2, allow_single=True, specs=[old])
    new = msgspec.structs.replace(picky(CARTS), name=old.name)
    (before, *_) = errors_in(await check(kafka, partitions=2, allow_single=True, specs=[new]))
    assert before.advice == "run `cartstream topics apply`"

    applied = await apply(kafka, partitions=2, allow_single=True, specs=[new])

    altered = {diff.setting for diff in applied.altered}
    assert altered == CARTS.settings.keys() - {"segment.ms"}
    assert {"segment.ms", "no.such.setting"} <= {diff.setting for diff in applied.warnings}
    assert errors_in(await check(kafka, partitions=2, allow_single=True, specs=[new])) == []


async def test_a_dry_run_changes_nothing(kafka: KafkaSettings) -> None:
    mark = uuid4().hex[:8]
    there, absent = (
        msgspec.structs.replace(spec, name=f"{spec.name}-{mark}") for spec in (CARTS, CART_CHANGED)
    )
    old = msgspec.structs.replace(there, settings={})
    await apply(kafka, partitions=2, allow_single=True, specs=[old])

    asked = await apply(kafka, partitions=2, allow_single=True, dry_run=True, specs=[there, absent])

    assert asked.created == [absent.name]
    assert {diff.setting for diff in asked.altered} == CARTS.settings.keys()
    assert await check(kafka, partitions=2, allow_single=True, specs=[old]) != []
    found = errors_in(await check(kafka, partitions=2, allow_single=True, specs=[there, absent]))
    assert {diff.setting for diff in found} == {*CARTS.settings, "topic"}


ACLS = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """A broker of the test's own that has access control lists."""
    template = tmp_path / "server.properties"
    template.write_text(devstack.kafka.TEMPLATE.read_text() + ACLS)
    monkeypatch.setattr(devstack.kafka, "TEMPLATE", template)
    with EmbeddedStack(tmp_path / "data", only=(KAFKA,)) as stack:
        yield stack


def deny(stack: EmbeddedStack, operation: str, topic: str) -> None:
    """Forbid everybody the operation on the topic, with Kafka's own tool."""
    spec = devstack.kafka.kafka_component(stack.settings)
    java, classpath = spec.argv[0], spec.argv[spec.argv.index("-cp") + 1]
    tool = [java, "-cp", classpath, "org.apache.kafka.tools.AclCommand"]
    where = ["--bootstrap-server", stack.urls.kafka_bootstrap, "--topic", topic]
    what = ["--add", "--deny-principal", "User:ANONYMOUS", "--operation", operation]
    subprocess.run([*tool, *where, *what], check=True, capture_output=True, timeout=PATIENCE_S)
    # With a list of its own a topic is closed: everything else stays allowed.
    subprocess.run(
        [*tool, *where, "--add", "--allow-principal", "User:ANONYMOUS", "--operation", "All"],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )


async def test_who_may_not_alter_or_look_is_told_so(guarded: EmbeddedStack) -> None:
    kafka = guarded.urls.kafka_bootstrap
    settings = KafkaSettings(kafka_bootstrap=kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await make_topics(admin, NewTopic(CARTS.name, 2, 1), NewTopic(CART_CHANGED.name, 2, 1))
    await admin.close()
    await asyncio.to_thread(deny, guarded, "AlterConfigs", CARTS.name)
    await asyncio.to_thread(deny, guarded, "DescribeConfigs", CART_CHANGED.name)

    applied = await apply(settings, partitions=2, allow_single=True, specs=[CARTS, CART_CHANGED])

    assert (applied.created, applied.altered) == ([], [])
    told = {(diff.topic, diff.setting): diff.advice for diff in applied.warnings}
    assert "this user may not set it" in told[CARTS.name, "segment.ms"]
    assert "describe" in told[CART_CHANGED.name, "(all)"]
    # Another user may be able to: the difference stays one to be mended.
    found = errors_in(await check(settings, partitions=2, allow_single=True, specs=[CARTS, CART_CHANGED]))
    assert {diff.topic for diff in found} == {CARTS.name}
    assert "segment.ms" in {diff.setting for diff in found}
    await require(settings, partitions=2, specs=[CARTS, CART_CHANGED])


def refusal(spec: TopicSpec, setting: str) -> Refused:
    return Refused(topic=spec.name, setting=setting, reason="policy")


@pytest.mark.parametrize(
    ("spec", "setting", "severity"),
    [
        (CARTS, "segment.ms", Severity.WARNING),
        (CARTS, "message.timestamp.type", Severity.WARNING),
        (CARTS, "cleanup.policy", Severity.ERROR),
        (CART_CHANGED, "message.timestamp.before.max.ms", Severity.ERROR),
    ],
)
def test_a_refused_setting_is_an_error_only_if_changes_can_get_lost_or_count_twice(
    spec: TopicSpec, setting: str, severity: Severity
) -> None:
    topic = ObservedTopic(partitions=16, replicas=3, configs={setting: "other"})
    observed = Observed(brokers=3, auto_create=False, topics={spec.name: topic})
    (difference,) = named([refusal(spec, setting)], observed, [spec], Wanted(partitions=16))
    assert (difference.found, difference.severity) == ("other", severity)
    assert meaning(spec, setting) in difference.advice


def test_a_refused_setting_that_has_the_right_value_anyway_is_none() -> None:
    topic = ObservedTopic(partitions=16, replicas=3, configs=CARTS.configs(replicas=3))
    observed = Observed(brokers=3, auto_create=False, topics={CARTS.name: topic})
    assert named([refusal(CARTS, "segment.ms")], observed, [CARTS], Wanted(partitions=16)) == []


@pytest.mark.parametrize("spec", TOPICS, ids=lambda spec: spec.name)
def test_every_setting_has_its_meaning(spec: TopicSpec) -> None:
    without = {meaning(spec, setting) for setting in spec.configs(replicas=3)}
    assert meaning(spec, "no.such.setting") not in without
