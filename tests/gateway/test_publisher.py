"""The publisher on a real broker: what a batch leaves behind that was given up before it was sent."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import ChangeRecord
from runtime.settings import KafkaSettings
from tests.support.servers import Urls
from topics.registry import PARTITIONS

PARTITION = 3


@pytest.fixture
async def publisher(urls: Urls) -> AsyncIterator[ChangePublisher]:
    """A publisher that has a producer."""
    kafka = KafkaSettings(kafka_bootstrap=urls.kafka_bootstrap)
    made = ChangePublisher(kafka, PARTITIONS, 30.0, Metrics(), lambda *_: None)
    made.start()
    async with asyncio.timeout(30):
        await _until_published(made)
    yield made
    await made.stop()


async def _until_published(publisher: ChangePublisher) -> None:
    while True:
        if await publisher.publish(PARTITION, _record()) is not None:
            return
        await asyncio.sleep(0.05)


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
    async with asyncio.timeout(30):
        await _until_published(publisher)
