"""The publisher and the sweeper at a real broker: what is late, what is refused, what is stamped when."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from carts.operations import Add, Item
from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import ChangeRecord
from runtime.settings import KafkaSettings
from store.redis import Applied, ChangeRequest
from tests.gateway.cart_client import CartClient, Topic
from tests.support.absent_carts import absence_of
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.codec import decode_change
from topics.headers import change_headers
from topics.registry import CART_CHANGED, PARTITIONS

MINUTE_MS = 60_000


def record(name: str, age_ms: int = 0) -> ChangeRecord:
    now = time.time_ns() // 1_000_000
    return ChangeRecord(
        key=f"user:{name}".encode(),
        value=b"{}",
        timestamp=now - age_ms,
        headers=change_headers(f"user:{name}", 2 * now * 1000, name),
        outbox_id=f"{now}-0",
        op_id=name,
    )


class Acks(list[str]):
    """The op ids that Kafka has acknowledged."""

    def __call__(self, _partition: int, _outbox_id: str, op_id: str) -> None:
        """Take one more."""
        self.append(op_id)


@pytest.fixture
def acks() -> Acks:
    """What the publisher reports."""
    return Acks()


@pytest.fixture
async def publisher(urls: Urls, acks: Acks) -> AsyncIterator[ChangePublisher]:
    """A connected publisher in this process."""
    found = ChangePublisher(
        KafkaSettings(kafka_bootstrap=urls.kafka_bootstrap), PARTITIONS, 10.0, Metrics(), acks
    )
    found.start()

    async def connected() -> bool:
        return found.connected

    await until(connected, "publisher connected")
    yield found
    await found.stop()


async def test_records_of_a_partition_keep_their_order(publisher: ChangePublisher, urls: Urls) -> None:
    offsets = await asyncio.gather(*(publisher.publish(3, record(f"r{n}")) for n in range(200)))
    assert None not in offsets
    assert offsets == sorted(offset for offset in offsets if offset is not None)
    assert (await Topic(urls.kafka).at(f"{CART_CHANGED.name}/3/{offsets[17]}")).key == "user:r17"


async def test_a_late_record_is_refused_and_spoils_no_other(publisher: ChangePublisher, acks: Acks) -> None:
    published = await asyncio.gather(
        publisher.publish(5, record("a")),
        publisher.publish(5, record("late", MINUTE_MS)),
        publisher.publish(5, record("b")),
    )
    assert [offset is None for offset in published] == [False, True, False]
    assert acks == ["a", "b"]
    assert publisher.connected


async def test_republishing_splits_a_batch_that_one_record_spoils(
    publisher: ChangePublisher, acks: Acks
) -> None:
    offsets = await publisher.republish(6, [record("a"), record("late", MINUTE_MS), record("b")])
    assert [offset is None for offset in offsets] == [False, True, False]
    assert acks == ["a", "b"]


async def test_the_sweeper_publishes_in_order_what_nobody_else_has(carts: CartClient, cart_id: str) -> None:
    ends = await carts.topic.ends()
    versions = []
    for number in range(10):
        # A gateway that died right after its script.
        applied = await carts.store.change(
            ChangeRequest(
                cart_id=cart_id,
                op_id=f"op-{number}",
                fingerprint="",
                steps=(Add("p", 1, 100, "EUR", Item("p")),),
                first_seen_us=time.time_ns() // 1000,
                absence=await absence_of(carts.store, cart_id),
            )
        )
        assert isinstance(applied, Applied)
        versions.append(applied.operation_version)
    await until(carts.outbox_is_empty, "outbox empty")
    found = [seen for seen in await carts.topic.since(ends) if seen.key == cart_id]
    # It may read entries again that are not removed yet, and publish them once more behind the others.
    assert list(dict.fromkeys(decode_change(seen.value).version for seen in found)) == versions
    assert all(seen.timestamp > versions[-1] // 2000 for seen in found), "stamped when read, not when made"
