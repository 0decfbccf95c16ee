"""Purge floors, in a topic of their own: before their tombstones, and never against a cart that is there."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from carts.operations import Expire, Purge
from delivery.app import DeliveryApp
from runtime.settings import KafkaSettings
from streams.decisions import LiftedFloor, Origin
from streams.purge_floors import PurgeFloors
from streams.recovery import Recovery
from tests.streams.conftest import Shopper, Topics
from tests.support.processes import AgentProcess
from tests.support.topics import floored_partitions
from topics.codec import decode_purge_floor, encode_purge_floor
from topics.headers import version_header
from topics.partitioner import partition_of
from topics.records import PurgeFloor, purge_floor_key, purge_floor_key_in_carts
from topics.registry import CARTS, PARTITIONS, PURGE_FLOORS

DAY_S = 24 * 60 * 60

Workers = Callable[[str], AgentProcess]
NewShopper = Callable[[], Shopper]

pytestmark = pytest.mark.timeout(300)


def partition(shopper: Shopper) -> int:
    return partition_of(shopper.cart_id.encode(), PARTITIONS)


async def test_a_worker_killed_between_floor_and_tombstone_costs_no_cart(
    kafka: KafkaSettings, topics: Topics, workers: Workers, new_shopper: NewShopper
) -> None:
    # Below another test's floor these old changes would be refused.
    floored = await floored_partitions(kafka)
    purged = next(each for _ in range(1000) if partition(each := new_shopper()) not in floored)
    idle = next(each for _ in range(1000) if partition(each := new_shopper()) == partition(purged))
    worker = workers("w")
    await worker.start()
    await topics.change(idle.change(seconds=-101 * DAY_S), purged.change(seconds=-100 * DAY_S))
    alive = (await topics.until_counted(purged.cart_id, 1)).state
    at = int(time.time() * 1e6) - 80 * DAY_S * 1_000_000
    expiry = Expire(alive.version_number, alive.operation_count, at)
    await topics.change(purged.change(expiry, seconds=-80 * DAY_S, op_id="!expire"))
    expired = (await topics.until_counted(purged.cart_id, 2)).state
    assert await worker.stop() == 0, worker.tail
    # The floor of the purge is written, the tombstone is not, and the purge was not committed.
    where, floor = partition(purged), encode_purge_floor(PurgeFloor(expired.version_number))
    await topics.raw(PURGE_FLOORS.name, purge_floor_key(where), floor, where)

    await worker.start()
    await topics.change(idle.change())
    await topics.until_counted(idle.cart_id, 2)
    purge = Purge(expired.version_number, expired.operation_count, at + 40 * DAY_S * 1_000_000)
    await topics.change(purged.change(purge, op_id="!purge"))
    await topics.until(lambda: topics.records(purged.cart_id)[-1].value is None)

    assert version_header(topics.records(purged.cart_id)[-1].headers) == expired.version
    assert all(record.value is not None for record in topics.records(idle.cart_id))
    # The owner has written the floor again when it took the partition over.
    floors = [decode_purge_floor(record.value).purge_floor for record in topics.floors(where)]
    assert floors == [expired.version_number] * 2


@pytest.mark.parametrize("topic", [PURGE_FLOORS.name, CARTS.name])
async def test_a_floor_holds_though_its_tombstone_is_gone_also_one_that_still_stands_in_carts(
    topics: Topics, workers: Workers, new_shopper: NewShopper, topic: str
) -> None:
    shopper = new_shopper()
    late = shopper.change(seconds=-1000 * DAY_S)
    where, floor = partition(shopper), encode_purge_floor(PurgeFloor(late.version))
    key = purge_floor_key(where) if topic == PURGE_FLOORS.name else purge_floor_key_in_carts(where)
    await topics.raw(topic, key, floor, where)

    await workers("w").start()
    await topics.change(late)
    await topics.until(lambda: len(topics.dead_letters(shopper.cart_id.encode())) == 1)

    letter = topics.dead_letters(shopper.cart_id.encode())[0]
    assert dict(letter.headers)["dlq_error_code"] == b"below_purge_floor"
    await topics.until(lambda: bool(topics.floors(where)))
    assert decode_purge_floor(topics.floors(where)[-1].value).purge_floor >= late.version


class SlowProducer:
    """Faust's producer; the test says when the broker acknowledges."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.asked = asyncio.Event()
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(self, *record: Any) -> asyncio.Future[None]:
        """Take a record."""
        self.sent.append(record)
        self.asked.set()
        return self.acknowledged


async def test_a_floor_is_acknowledged_before_anything_goes_on() -> None:
    producer, recovery = SlowProducer(), Recovery(PARTITIONS)
    app = cast(DeliveryApp, type("App", (), {"producer": producer}))
    lifting = asyncio.create_task(PurgeFloors(app, recovery).lift(LiftedFloor(8, Origin(3, 122))))
    await producer.asked.wait()
    await asyncio.sleep(0)
    assert (lifting.done(), recovery.floor(3)) == (False, 0)
    producer.acknowledged.set_result(None)
    await lifting
    assert recovery.floor(3) == 8
    (record,) = producer.sent
    assert record[:4] == (PURGE_FLOORS.name, b"3", encode_purge_floor(PurgeFloor(8)), 3)


async def test_a_floor_that_the_broker_refuses_ends_the_purge() -> None:
    producer, recovery = SlowProducer(), Recovery(PARTITIONS)
    app = cast(DeliveryApp, type("App", (), {"producer": producer}))
    producer.acknowledged.set_exception(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        await PurgeFloors(app, recovery).lift(LiftedFloor(8, Origin(3, 122)))
    assert recovery.floor(3) == 0
