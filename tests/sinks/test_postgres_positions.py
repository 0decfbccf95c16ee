"""The sink's position is in Postgres: it goes back with the rows, and what they have lost is read again."""

import asyncio

import psycopg
import pytest

from runtime.failstop import EXIT_RESTART
from runtime.kafka.ranges import OffsetRange
from runtime.settings import KafkaSettings
from sinks.postgres.batch import Batch, newest
from sinks.postgres.positions import BeginsAnew, Positions, begins
from sinks.postgres.table import CartsTable, RowsFellBack
from store.postgres import carts, positions
from store.postgres.positions import Move, Position
from store.postgres.session import Address
from tests.sinks.cart_records import TopicWriter, cart_in, grow
from tests.sinks.test_batch import row
from tests.sinks.test_postgres_sink import all_written
from tests.support.processes import AgentProcess
from topics.cluster import cluster
from topics.generations import Generation, close, make, open_, remove
from topics.names import GENERATION as OWN
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, CARTS, PARTITIONS, in_generation

GENERATION = 78
NEXT = OWN + 1
LOG = OffsetRange(10, 100)


@pytest.mark.parametrize(
    ("found", "start", "why"),
    [
        (None, 10, BeginsAnew.UNKNOWN),
        (Position(0, "other", 50), 10, BeginsAnew.OTHER_TOPIC),
        (Position(0, "topic", 101), 10, BeginsAnew.BEYOND_END),
        (Position(0, "topic", 100), 100, None),
        (Position(0, "topic", 50), 50, None),
    ],
)
def test_a_partition_begins_where_its_rows_are(
    found: Position | None, start: int, why: BeginsAnew | None
) -> None:
    assert begins(found, "topic", LOG, None) == (start, why)


def test_a_log_that_has_grown_again_after_it_lost_its_end_is_written_from_its_start() -> None:
    found = Position(0, "topic", 50, record_time=7)
    assert begins(found, "topic", LOG, 7) == (50, None)
    assert begins(found, "topic", LOG, None) == (50, None), "the cleaner may have taken the record"
    assert begins(found, "topic", LOG, 8) == (10, BeginsAnew.OTHER_RECORD)
    assert begins(Position(0, "topic", 50), "topic", LOG, 8) == (50, None)


async def test_rows_and_position_are_written_together_or_not_at_all(database: str) -> None:
    cart_id = cart_in(3)
    batch = newest([row(cart_id, grow(cart_id, 1))])
    async with CartsTable(Address(database)) as table:
        with pytest.raises(RowsFellBack):
            await table.write(batch, [Move(3, "topic", 0, 1, 0)])  # nobody has begun
        await table.begin([Position(3, "topic", 0)])
        assert await table.write(batch, [Move(3, "topic", 0, 5, 70)]) == 1
        assert await table.write(batch, [Move(3, "topic", 0, 4, 60)]) == 0  # another sink, behind this one
        for wrong in (Move(3, "topic", 6, 9, 0), Move(3, "other", 0, 9, 0)):
            with pytest.raises(RowsFellBack):
                await table.write(newest([row(cart_id, grow(cart_id, 2))]), [wrong])
        position = (await table.positions([3, 4]))[3]
        assert position[:4] == (3, "topic", 5, 70)
        assert await table.write(Batch([], []), [Move(3, "topic", 5, 6, 0)]) == 0
        assert (await table.positions([3]))[3].position == 6
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT n FROM carts").fetchall() == [(1,)]


async def test_what_is_noted_for_the_next_generation_leaves_the_positions_of_this_one(database: str) -> None:
    cart_id = cart_in(3)
    async with (
        CartsTable(Address(database)) as table,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        await table.begin([Position(3, "topic", 7)])
        await positions.begin(connection, [Position(3, "next", 40), Position(4, "next", 50)], NEXT)
        batch = newest([row(cart_id, grow(cart_id, 1))])
        assert await table.write(batch, [Move(3, "topic", 7, 9, 70)]) == 1
        found = await table.positions([3, 4])
        assert [each[:3] for each in found.values()] == [(3, "topic", 9)]
        looked_up = await carts.look_up(connection, {cart_id: 3})
        assert (looked_up[cart_id].position, looked_up[cart_id].topic_id) == (9, "topic")
        await positions.drop(connection, NEXT)
        assert await (await connection.execute("SELECT generation FROM carts_positions")).fetchall() == [
            (NEXT - 1,)
        ]


class Ended(Exception):
    """A process would have ended."""


async def test_a_worker_of_a_closed_generation_begins_nothing_anew(
    kafka: KafkaSettings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Carts may have moved: one that was deleted since would have a row again.
    def end(event: str, **_: object) -> None:
        raise Ended(event)

    monkeypatch.setattr("sinks.postgres.positions.fail_stop", end)
    for name, spec in {"CARTS": CARTS, "CART_CHANGED": CART_CHANGED}.items():
        monkeypatch.setattr(f"sinks.postgres.positions.{name}", in_generation(spec, GENERATION))
    own = Positions(kafka, Address(database))
    async with cluster(kafka) as connection, CartsTable(Address(database)) as table:
        try:
            await make(connection, GENERATION, 2, 1)
            with pytest.raises(Ended, match=r"positions\.generation_closed"):
                await own.begin([0, 1])
            assert await table.positions([0, 1]) == {}
            # What it has begun itself it may still write while its generation is being closed.
            await open_(connection, Generation(GENERATION, 2, 1, is_open=False))
            assert await own.begin([0, 1]) == {0: 0, 1: 0}
            await close(connection, Generation(GENERATION, 2, 1, is_open=True))
            assert await own.begin([0, 1]) == {0: 0, 1: 0}
        finally:
            await remove(connection, GENERATION)


async def test_rows_that_went_back_to_a_backup_are_written_again(
    sink: AgentProcess, topics: TopicWriter, database: str
) -> None:
    carts = [cart_in(number % PARTITIONS) for number in range(40)]
    states = {cart_id: grow(cart_id, 1) for cart_id in carts}
    await topics.states(states)
    await sink.start()
    await all_written(database, states)
    backup = rows_and_positions(database)
    states |= {cart_id: grow(cart_id, 2) for cart_id in carts[:20]}
    states |= {
        cart_id: grow(cart_id, 1) for cart_id in (cart_in(number % PARTITIONS) for number in range(20))
    }
    await topics.states(states)
    await all_written(database, states)

    put_back(database, backup)
    last = carts[-1]
    states[last] = grow(last, 3)
    offset = await topics.state(last, states[last])
    assert await asyncio.to_thread(sink.wait) == EXIT_RESTART
    assert "positions.fell_back" in sink.tail
    await sink.start()
    await all_written(database, states)
    partition = partition_of(last.encode(), PARTITIONS)
    async with CartsTable(Address(database)) as table:
        assert (await table.positions([partition]))[partition].position == offset + 1


async def test_an_empty_database_is_filled_whatever_the_group_has_committed(
    sink: AgentProcess, topics: TopicWriter, database: str
) -> None:
    states = {cart_id: grow(cart_id, 1) for cart_id in (cart_in(number % PARTITIONS) for number in range(20))}
    await topics.states(states)
    await sink.start()
    await all_written(database, states)
    assert await sink.stop() == 0
    put_back(database, ([], []))
    await sink.start()
    await all_written(database, states)


Backup = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]


def rows_and_positions(url: str) -> Backup:
    """What a backup has, without the JSON."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT cart_id, v, n, digest, status, subtotal FROM carts").fetchall()
        return rows, connection.execute(
            "SELECT generation, partition, topic_id, position, record_time FROM carts_positions"
        ).fetchall()


def put_back(url: str, backup: Backup) -> None:
    """Let the database go back to a backup."""
    rows, positions = backup
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE carts, carts_positions")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO carts (cart_id, v, n, digest, status, subtotal, lines, metadata, state)"
                " VALUES (%s, %s, %s, %s, %s, %s, '[]', '{}', '{}')",
                rows,
            )
            cursor.executemany(
                "INSERT INTO carts_positions (generation, partition, topic_id, position, record_time)"
                " VALUES (%s, %s, %s, %s, %s)",
                positions,
            )
