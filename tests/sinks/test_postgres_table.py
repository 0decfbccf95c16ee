"""Writing batches into a real Postgres."""

import random
from contextlib import suppress

import msgspec
import psycopg
import pytest

from carts.state import trim_idle
from devstack.embedded import EmbeddedStack
from devstack.settings import POSTGRES
from sinks.data_errors import is_bad_data
from sinks.postgres import table as module
from sinks.postgres.batch import Batch, newest
from sinks.postgres.table import CartsTable
from store.postgres.carts import Deletion
from store.postgres.errors import SchemaOutdated
from store.postgres.session import Address
from tests.sinks.cart_records import expire, grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.outages import frozen
from tests.support.waiting import until


def stored(url: str) -> dict[str, tuple[int, int]]:
    with psycopg.connect(url) as connection:
        return {cart_id: (v, n) for cart_id, v, n in connection.execute("SELECT cart_id, v, n FROM carts")}


@pytest.mark.parametrize("seed", range(5))
async def test_the_newest_version_stays_under_duplicates_and_any_order(database: str, seed: int) -> None:
    chance = random.Random(seed)
    carts = [new_cart_id() for _ in range(10)]
    history = [row(cart_id, grow(cart_id, n)) for cart_id in carts for n in range(1, 6)]
    deliveries = [*history, *chance.choices(history, k=30)]
    chance.shuffle(deliveries)
    async with CartsTable(Address(database)) as table:
        while deliveries:
            some = [deliveries.pop() for _ in range(min(len(deliveries), chance.randint(1, 12)))]
            await table.write(newest(some))
    assert stored(database) == {cart_id: (grow(cart_id, 5).version_number, 5) for cart_id in carts}


async def test_writing_a_batch_again_changes_nothing(database: str) -> None:
    batch = newest(row(cart_id, grow(cart_id, 2)) for cart_id in [new_cart_id() for _ in range(10)])
    async with CartsTable(Address(database)) as table:
        assert await table.write(batch) == 10
        assert await table.write(batch) == 0
        assert await table.write(Batch([], [])) == 0


async def test_a_row_that_has_been_trimmed_is_not_replaced_by_what_was_read_before(database: str) -> None:
    trimmed, changed_by_hand = new_cart_id(), new_cart_id()
    state = grow(trimmed, 3)
    small = trim_idle(state, state.version_number)
    assert small.version == state.version
    assert row(trimmed, small).window_bytes < row(trimmed, state).window_bytes
    async with CartsTable(Address(database)) as table:
        await table.write(newest([row(trimmed, small), row(changed_by_hand, state)]))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("UPDATE carts SET subtotal = 1 WHERE cart_id = %s", [changed_by_hand])
            assert await table.replace([row(trimmed, state), row(changed_by_hand, state)]) == 1
            found = connection.execute("SELECT cart_id, window_bytes, subtotal FROM carts").fetchall()
    expected = [row(trimmed, small), row(changed_by_hand, state)]
    assert set(found) == {(each.cart_id, each.window_bytes, each.subtotal) for each in expected}


async def test_an_expired_cart_is_an_update(database: str) -> None:
    cart_id = new_cart_id()
    state = grow(cart_id, 2)
    async with CartsTable(Address(database)) as table:
        await table.write(newest([row(cart_id, state)]))
        await table.write(newest([row(cart_id, expire(cart_id, state))]))
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT status, lines FROM carts").fetchall() == [("expired", [])]


async def test_a_deletion_takes_what_it_has_seen_and_leaves_what_has_gone_on(database: str) -> None:
    seen, gone_on = new_cart_id(), new_cart_id()
    version = grow(seen, 2).version
    async with CartsTable(Address(database)) as table:
        await table.write(newest([row(seen, grow(seen, 2)), row(gone_on, grow(gone_on, 3))]))
        await table.write(
            Batch([], [Deletion(name, version.number, version.operation_count) for name in (seen, gone_on)])
        )
        assert stored(database).keys() == {gone_on}
        await table.write(
            Batch([row(seen, grow(seen, 4))], [Deletion(gone_on, grow(gone_on, 3).version_number, 3)]),
        )
    assert stored(database).keys() == {seen}


async def test_a_nul_is_bad_data_and_nothing_of_its_batch_is_written(database: str) -> None:
    good, bad = new_cart_id(), new_cart_id()
    poisoned = msgspec.structs.replace(row(bad, grow(bad, 1)), metadata='{"note":"\\u0000"}')
    async with CartsTable(Address(database)) as table:
        with pytest.raises(psycopg.Error) as caught:
            await table.write(Batch([row(good, grow(good, 1)), poisoned], []))
        assert is_bad_data(caught.value)
        assert stored(database) == {}
        await table.write(Batch([row(good, grow(good, 1))], []))
    assert stored(database).keys() == {good}


async def test_a_database_without_the_table_says_what_to_do(postgres_url: str) -> None:
    async with CartsTable(Address(postgres_url)) as table:
        with pytest.raises(SchemaOutdated, match="cartstream migrate") as caught:
            await table.write(newest([row("user:1", grow("user:1", 1))]))
    assert not is_bad_data(caught.value)


async def test_a_connection_cut_by_the_server_is_renewed(database: str) -> None:
    cart_id = new_cart_id()
    async with CartsTable(Address(database)) as table:
        await table.write(newest([row(cart_id, grow(cart_id, 1))]))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'cartstream-postgres' AND datname = current_database()"
            )
        with pytest.raises(psycopg.OperationalError) as caught:
            await table.write(newest([row(cart_id, grow(cart_id, 2))]))
        assert not is_bad_data(caught.value)
        await table.write(newest([row(cart_id, grow(cart_id, 2))]))
    assert stored(database) == {cart_id: (grow(cart_id, 2).version_number, 2)}


@pytest.mark.embedded
async def test_a_frozen_postgres_is_noticed(
    database: str, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 1)
    cart_id = new_cart_id()
    first, second = (newest([row(cart_id, grow(cart_id, n))]) for n in (1, 2))
    async with CartsTable(Address(database)) as table:

        async def written(batch: Batch) -> bool:
            # A server that has other work may need more than that second.
            with suppress(TimeoutError, psycopg.OperationalError):
                await table.write(batch)
                return True
            return False

        await until(lambda: written(first), "written")
        with frozen(stack, POSTGRES), pytest.raises(TimeoutError):
            await table.write(second)
        await until(lambda: written(second), "written again")
    assert stored(database) == {cart_id: (grow(cart_id, 2).version_number, 2)}
