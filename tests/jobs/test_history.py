"""The partitions of the history: made ahead by the job, dropped after their days."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from carts.operations import Change
from carts.view import last_version_of
from jobs.history import DAYS_AHEAD, DAYS_BACK, HistoryJob
from jobs.settings import JobsSettings
from store.postgres import history
from store.postgres.history import NEWEST, Position
from tests.sinks.cart_records import add, new_cart_id

TODAY = date(2026, 11, 28)
KEPT = 30


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as found:
        yield found


def job(database: str, *, switched_on: bool = True) -> HistoryJob:
    return HistoryJob(JobsSettings(postgres_url=database, history=switched_on, history_days=KEPT))


def change_on(day: date) -> Change:
    version = last_version_of(datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)) - 1
    return add(new_cart_id(), 1, first=version - 2_000)


async def tables(connection: psycopg.AsyncConnection[Any]) -> dict[date, str]:
    """The table that each operation stands in, by its day."""
    cursor = await connection.execute("SELECT day, tableoid::regclass::text FROM cart_changes")
    return dict(await cursor.fetchall())


async def test_partitions_are_there_ahead_and_operations_go_into_that_of_their_day(
    connection: psycopg.AsyncConnection[Any], database: str
) -> None:
    await job(database).round(connection, TODAY)
    found = await history.partitions(connection)
    days = [TODAY + timedelta(days=day) for day in range(-DAYS_BACK, DAYS_AHEAD + 1)]
    assert [each.day for each in found] == days
    await job(database).round(connection, TODAY + timedelta(days=1))
    assert len(await history.partitions(connection)) == len(days) + 1
    await history.insert(connection, [change_on(day) for day in days])
    assert await tables(connection) == {each.day: each.name for each in found}


async def test_days_that_are_too_old_are_dropped_also_from_the_rest(
    connection: psycopg.AsyncConnection[Any], database: str
) -> None:
    oldest, kept = TODAY - timedelta(days=KEPT + 1), TODAY - timedelta(days=KEPT)
    await history.create_partition(connection, oldest)
    await history.create_partition(connection, kept)
    changes = [change_on(day) for day in (oldest - timedelta(days=1), oldest, kept, TODAY)]
    assert await history.insert(connection, changes) == 4
    assert (await tables(connection))[oldest - timedelta(days=1)] == "cart_changes_rest"
    # Switched off, what there is still goes when it is old, and nothing is made.
    await job(database, switched_on=False).round(connection, TODAY)
    assert set(await tables(connection)) == {kept, TODAY}
    assert [each.day for each in await history.partitions(connection)] == [kept]


async def test_a_day_that_the_rest_has_already_stays_there(
    connection: psycopg.AsyncConnection[Any], database: str
) -> None:
    early = change_on(TODAY)
    await history.insert(connection, [early])
    await job(database).round(connection, TODAY)
    assert TODAY not in {each.day for each in await history.partitions(connection)}
    assert await history.before(connection, early.cart_id, Position(NEWEST, ""), 9) == [
        plain(early),
    ]
    await job(database).round(connection, TODAY + timedelta(days=KEPT + 1))
    assert await tables(connection) == {}


async def test_erasures_are_forgotten_after_all_that_could_arrive_late(
    connection: psycopg.AsyncConnection[Any], database: str
) -> None:
    await history.erase(connection, [("user:old", 3), ("user:new", 3)])
    await connection.execute(
        "UPDATE erased_histories SET erased_at = now() - interval '32 days' WHERE cart_id = 'user:old'"
    )
    await job(database).round(connection, TODAY)
    cursor = await connection.execute("SELECT cart_id FROM erased_histories")
    assert await cursor.fetchall() == [("user:new",)]


async def test_an_operation_is_written_once_and_not_after_its_erasure(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    cart_id = new_cart_id()
    first, second, third = (add(cart_id, number) for number in (1, 2, 3))
    assert await history.insert(connection, [first, second]) == 2
    assert await history.insert(connection, [second, first, third]) == 1
    assert await history.until(connection, cart_id, NEWEST, 9) == [plain(first), plain(second), plain(third)]
    assert await history.until(connection, cart_id, second.version, 9) == [plain(first), plain(second)]
    assert await history.erase(connection, [(cart_id, second.version + 1)]) == 2
    assert await history.insert(connection, [first, second, third]) == 0
    assert await history.count(connection, cart_id) == 1
    assert await history.erase(connection, [(cart_id, first.version)]) == 0
    assert await history.insert(connection, [second]) == 0


async def test_pages_end_between_operations_of_one_version(connection: psycopg.AsyncConnection[Any]) -> None:
    cart_id = new_cart_id()
    made = [plain(add(cart_id, 1)), *(plain(each) for each in twins(cart_id))]
    await history.insert(connection, made)
    newest_first = sorted(made, key=lambda each: (each.version, each.op_id), reverse=True)
    position, seen = Position(NEWEST, ""), []
    while page := await history.before(connection, cart_id, position, 1):
        seen += page
        position = Position(page[-1].version, page[-1].op_id)
    assert seen == newest_first


def twins(cart_id: str) -> list[Change]:
    """Two operations of one version: a fork."""
    second = add(cart_id, 2)
    return [second, Change(cart_id=cart_id, version=second.version, op_id="other", delta=second.delta)]


def plain(change: Change) -> Change:
    """As the history has it: without the fingerprint."""
    return replace(change, fingerprint="")
