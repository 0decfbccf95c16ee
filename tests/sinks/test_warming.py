"""Once a partition is open, warming brings in the carts that only the rows have."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from runtime.kafka.ranges import OffsetRange, RangeReader
from runtime.settings import KafkaSettings
from sinks.redis import metrics
from sinks.redis.rows import Rows
from sinks.redis.warming import Warming, newest_first, rest_s
from tests.sinks.cart_records import TopicWriter, cart_in, expire, grow
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.sinks.row_fixtures import PARTITION, Table, break_row, restorer
from tests.support.memory import RESERVE, filled
from topics.registry import CARTS, PARTITIONS


def warming_of(redis: Redis, rows: Rows, opening: Callable[[], bool] = lambda: False) -> Warming:
    """The warming of PARTITION alone, in a hurry."""
    settings = redis.settings.model_copy(update={"warm_carts_per_s": 100_000})
    return Warming(settings, redis.store, rows, LAYOUT, lambda: [PARTITION], opening)


async def test_warming_brings_every_cart_in_from_its_row(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    carts = [cart_in(PARTITION) for _ in range(30)]
    gone, idle = carts[:2]
    states = {cart_id: grow(cart_id, 1) for cart_id in carts}
    states[idle] = grow(idle, 1, first=2 * 1_000_000)
    await topics.states(states)
    await topics.state(carts[5], grow(carts[5], 1))  # a low record, after its row
    states[carts[5]] = grow(carts[5], 3)
    states[gone] = expire(gone, states[gone])
    await table.write(states)
    await table.stand_at(await table.end())
    await restorer(redis, rows).restore(PARTITION)
    assert [await redis.n(cart_id) for cart_id in carts] == [0] * len(carts)
    warming = warming_of(redis, rows)
    while not await warming.round():
        pass
    assert await redis.store.cold(PARTITION) is None
    assert [await redis.n(cart_id) for cart_id in carts] == [
        0 if cart_id in {gone, idle} else states[cart_id].operation_count for cart_id in carts
    ]


async def cold_carts(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows, count: int, operations: int = 1
) -> list[str]:
    """Carts of so many operations that a restoration has left to their rows."""
    carts = [cart_in(PARTITION) for _ in range(count)]
    states = {cart_id: grow(cart_id, operations) for cart_id in carts}
    await topics.states(states)
    await table.write(states)
    await table.stand_at(await table.end())
    await restorer(redis, rows).restore(PARTITION)
    return carts


async def test_warming_brings_carts_in_again_that_redis_has_lost_by_falling_back(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    carts = await cold_carts(redis, topics, table, rows, 30)
    cold = await redis.snapshot()
    warming = warming_of(redis, rows)
    with monkeypatch.context() as few:
        few.setattr("sinks.redis.warming.RECORDS", 20)
        assert not await warming.round()
    assert 0 < [await redis.n(cart_id) for cart_id in carts].count(1) < len(carts)
    await redis.roll_back(cold)
    while not await warming.round():
        pass
    assert [await redis.n(cart_id) for cart_id in carts] == [1] * len(carts)


@pytest.mark.parametrize(("records", "piece"), [(20, 1), (20, 2), (1000, 1)])
async def test_warming_notes_nothing_in_a_redis_that_falls_back_before_it_does(
    redis: Redis,
    topics: TopicWriter,
    table: Table,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    records: int,
    piece: int,
) -> None:
    carts = await cold_carts(redis, topics, table, rows, 30)
    cold, note, looks = await redis.snapshot(), redis.store.warmed, 0

    async def fallen_back(*arguments: Any) -> bool:
        nonlocal looks
        looks += 1
        if looks == piece:
            await redis.roll_back(cold)
        return await note(*arguments)

    warming = warming_of(redis, rows)
    monkeypatch.setattr("sinks.redis.warming.RECORDS", records)
    monkeypatch.setattr(redis.store, "warmed", fallen_back)
    while not await warming.round():
        pass
    assert [await redis.n(cart_id) for cart_id in carts] == [1] * len(carts)


async def test_warming_passes_a_row_that_cannot_be_read(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows, database: str
) -> None:
    carts = await cold_carts(redis, topics, table, rows, 5)
    await break_row(database, carts[2])
    unreadable = metrics.UNREADABLE_ROWS._value.get()  # noqa: SLF001
    warming = warming_of(redis, rows)
    while not await warming.round():
        pass
    assert [await redis.n(cart_id) for cart_id in carts] == [1, 1, 0, 1, 1]
    assert metrics.UNREADABLE_ROWS._value.get() > unreadable  # noqa: SLF001


async def test_warming_waits_for_rows_that_are_behind_what_redis_was_restored_on(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    (cart_id,) = await cold_carts(redis, topics, table, rows, 1, operations=2)
    await table.stand_at(0)
    warming = warming_of(redis, rows)
    assert not await warming.round()
    assert await redis.n(cart_id) == 0
    assert await redis.store.cold(PARTITION) == await table.end()


async def test_warming_waits_while_redis_has_no_room(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    (cart_id,) = await cold_carts(redis, topics, table, rows, 1, operations=2)
    warming = warming_of(redis, rows)
    with filled(redis.settings.redis_url, RESERVE):
        assert await warming.round()
        assert await redis.n(cart_id) == 0
    while not await warming.round():
        pass
    assert await redis.n(cart_id) == 2


async def test_warming_waits_while_a_partition_is_restored(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    (cart_id,) = await cold_carts(redis, topics, table, rows, 1, operations=2)
    answers = [True, True, True]
    warming = asyncio.create_task(warming_of(redis, rows, lambda: bool(answers)).round())
    while answers:
        assert await redis.n(cart_id) == 0
        answers.pop()
    await warming
    assert await redis.n(cart_id) == 2


@pytest.mark.parametrize(
    ("took_s", "rows", "seconds"), [(0.01, 100, 0.09), (0.1, 100, 0.025), (2.0, 100, 0.5), (0.4, 0, 0.1)]
)
def test_warming_keeps_its_rate_and_rests_in_any_case(took_s: float, rows: int, seconds: float) -> None:
    assert rest_s(took_s, rows, 1000) == pytest.approx(seconds)


async def test_carts_are_warmed_newest_first(topics: TopicWriter, kafka: KafkaSettings) -> None:
    one, two, three = (cart_in(PARTITION) for _ in range(3))
    first = await topics.state(one, grow(one, 1))
    for cart_id in (two, three, one):
        last = await topics.state(cart_id, grow(cart_id, 2))
    await topics.null(three, grow(three, 2).version)
    async with RangeReader(kafka) as reader:
        place = TopicPartition(CARTS.name, PARTITION)
        async for records in reader.read({place: OffsetRange(first, last + 2)}):
            assert newest_first(records, PARTITIONS) == [one, three, two]
