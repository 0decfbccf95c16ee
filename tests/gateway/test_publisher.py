"""The publisher on a real broker: batches that fail, wait for a leader, or are given up."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError

from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import ChangeRecord
from runtime.kafka.produce import produce
from runtime.settings import KafkaSettings
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.registry import PARTITIONS, PRODUCTS

PARTITION = 3


@pytest.fixture
async def publisher(urls: Urls) -> AsyncIterator[ChangePublisher]:
    """A publisher that has a producer."""
    kafka = KafkaSettings(kafka_bootstrap=urls.kafka_bootstrap)
    made = ChangePublisher(kafka, PARTITIONS, 30.0, Metrics(), lambda *_: None)
    made.start()
    await _until_published(made)
    yield made
    await made.stop()


async def _until_published(publisher: ChangePublisher) -> None:
    async def is_published() -> bool:
        return await publisher.publish(PARTITION, _record()) is not None

    await until(is_published, "published")


def _record() -> ChangeRecord:
    now_ms = time.time_ns() // 1_000_000
    return ChangeRecord(key=b"guest:p", value=b"{}", timestamp=now_ms, headers=[], outbox_id="1-0", op_id="k")


async def test_a_partition_that_was_without_a_leader_is_published_to_again(
    publisher: ChangePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = publisher._connection.producer  # noqa: SLF001  only its client knows who leads
    assert producer is not None
    with monkeypatch.context() as unled:
        # As the broker says it while it starts: the partition is there and has no leader yet.
        unled.setattr(producer.client.cluster, "leader_for_partition", lambda _: -1)
        assert await publisher.publish(PARTITION, _record()) is None
    await _until_published(publisher)


@pytest.mark.parametrize("whole_request", [True, False])
async def test_a_batch_that_fails_is_sent_again_before_those_behind_it(
    publisher: ChangePublisher,
    monkeypatch: pytest.MonkeyPatch,
    whole_request: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    failures = [1]

    async def fails_once(client: Any, broker: int, topic: str, batches: Any, timeout_s: float) -> Any:
        if not failures:
            return await produce(client, broker, topic, batches, timeout_s)
        failures.clear()
        behind.append(publisher.publish(PARTITION, _record()))
        if whole_request:
            raise KafkaConnectionError
        return dict.fromkeys(batches, NotLeaderForPartitionError())

    behind: list[asyncio.Future[int | None]] = []
    monkeypatch.setattr("gateway.outbox.sender.produce", fails_once)
    first = await publisher.publish(PARTITION, _record())
    second = await behind[0]
    assert first is not None
    assert second is not None
    assert first < second
    assert publisher.connected


async def test_what_is_no_error_of_kafka_is_given_up_and_heard_of(
    publisher: ChangePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: Any) -> Any:
        raise RuntimeError("the transport is closed")

    with monkeypatch.context() as broken:
        broken.setattr("gateway.outbox.sender.produce", breaks)
        assert await publisher.publish(PARTITION, _record()) is None
        assert not publisher.connected
    await _until_published(publisher)


async def test_the_leaders_of_changes_are_known_whatever_else_a_producer_sends(
    publisher: ChangePublisher,
) -> None:
    producer = publisher.producer
    assert producer is not None
    await producer.partitions_for(PRODUCTS.name)
    assert await producer.client.force_metadata_update()
    assert await publisher.publish(PARTITION, _record()) is not None
