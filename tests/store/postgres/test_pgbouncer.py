"""Behind PgBouncer in transaction mode: what works, and what is refused with what to do."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from jobs.app import run_all
from jobs.settings import JobsSettings
from runtime.process import Lifetime
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres import carts
from store.postgres.errors import MigrationFailed
from store.postgres.migrate import migrate
from store.postgres.pool import CheckedPool
from store.postgres.session import Address, PoolerBetween, connect
from tests.jobs.test_leadership import Rounds
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row
from tests.store.postgres.test_session import setting
from tests.support.pgbouncer import pgbouncer, private_folder

SCHEMA = "shop"


@pytest.fixture
def pooled(postgres_url: str) -> Iterator[Address]:
    """A migrated schema behind a PgBouncer with two connections, in a database with another `carts`."""
    migrate(Address(postgres_url, SCHEMA))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE public.carts (id int)")
    with private_folder() as folder, pgbouncer(postgres_url, folder) as found:
        yield Address(found.url, SCHEMA)


async def test_many_connections_share_few(pooled: Address) -> None:
    cart_ids = [new_cart_id() for _ in range(12)]

    async def write_and_read(cart_id: str) -> None:
        async with CartsTable(pooled) as table:
            for operations in range(1, 9):
                state = grow(cart_id, operations)
                assert await table.write(newest([row(cart_id, state)])) == 1
                async with await connect(pooled, name="test") as connection:
                    assert connection.is_pooled
                    (found,) = await carts.read(connection, [cart_id])
                assert found.operation_count == operations

    await asyncio.gather(*map(write_and_read, cart_ids))


async def test_settings_are_those_of_each_transaction(pooled: Address) -> None:
    pool = CheckedPool(pooled, name="test", min_size=4, max_size=4, wait_s=60, statement_ms=12_340)
    async with pool, await connect(Address(pooled.url, "other"), name="test") as other:
        await pool.wait()

        async def look() -> None:
            async with pool.connection() as connection:
                # Often enough that psycopg would prepare it in another session.
                for _ in range(10):
                    assert await setting(connection, "search_path") == SCHEMA
                async with connection.transaction():
                    await asyncio.sleep(0)
                    assert await setting(connection, "statement_timeout") == "12340ms"
                    async with connection.transaction():
                        assert await setting(connection, "search_path") == SCHEMA

        for _ in range(5):
            await asyncio.gather(*(look() for _ in range(4)), setting(other, "work_mem"))
            assert await setting(other, "search_path") == "other"
    async with await psycopg.AsyncConnection.connect(pooled.url, autocommit=True) as anybody:
        for _ in range(4):
            assert await setting(anybody, "search_path") == '"$user", public'


async def test_what_needs_a_session_says_so(pooled: Address) -> None:
    settings = JobsSettings(postgres_url=SecretStr(pooled.url), postgres_schema=pooled.schema)
    with pytest.raises(PoolerBetween, match="set it to the address of Postgres itself"):
        await run_all([Rounds()], settings, Lifetime(settings))
    with pytest.raises(MigrationFailed, match="set it to the address of Postgres itself"):
        await asyncio.to_thread(migrate, pooled)
