"""Connections bring settings of their own along, and keep what the URL says."""

import psycopg
import pytest

from jobs.leadership import leadership
from store.postgres.connection import RenewedConnection
from store.postgres.pool import CheckedPool
from store.postgres.session import Address, ServerReadOnly, SessionConnection, connect
from tests.support.databases import with_parameters


async def setting(connection: psycopg.AsyncConnection, name: str) -> str:
    """A setting of the server as the session has it."""
    found = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
    assert found is not None
    return str(found[0])


async def test_options_of_the_url_are_kept_everywhere(postgres_url: str) -> None:
    options = {"options": "-c work_mem=7MB -c statement_timeout=1h", "application_name": "named"}
    address = Address(with_parameters(postgres_url, **options), "shop")

    async def looks_right(connection: SessionConnection, timeout: str) -> None:
        assert not connection.is_pooled
        assert await setting(connection, "work_mem") == "7MB"
        assert await setting(connection, "search_path") == "shop"
        assert await setting(connection, "statement_timeout") == timeout
        assert await setting(connection, "application_name") == "named"

    renewed = RenewedConnection(address, name="sink", timeout_s=33)
    async with renewed.use() as connection:
        await looks_right(connection, "33s")
    await renewed.close()
    pool = CheckedPool(address, name="pool", min_size=1, max_size=1, wait_s=60, statement_ms=9_750)
    async with pool, pool.connection() as connection:
        await looks_right(connection, "9750ms")
    async with await connect(address, name="verify") as connection:
        await looks_right(connection, "1h")
    async with leadership("rounds", address, lambda: None) as led:
        assert await setting(led, "work_mem") == "7MB"
        assert await setting(led, "idle_session_timeout") == "1min"


async def test_settings_last_beyond_transactions_that_fail(postgres_url: str) -> None:
    async with await connect(Address(postgres_url, "shop"), name="test") as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with connection.transaction():
                await connection.execute("SELECT 1 / 0")
        assert await setting(connection, "search_path") == "shop"


async def test_a_server_that_takes_no_writes_is_left(postgres_url: str) -> None:
    read_only = Address(with_parameters(postgres_url, options="-c default_transaction_read_only=on"))
    renewed = RenewedConnection(read_only, name="test", timeout_s=5)
    with pytest.raises(ServerReadOnly):
        async with renewed.use() as connection, connection.transaction():
            await connection.execute("CREATE TABLE written ()")
    assert connection.closed
    async with renewed.use() as connection:
        assert await setting(connection, "transaction_read_only") == "on"
    await renewed.close()


async def test_a_pool_leaves_a_server_that_takes_no_writes_with_all_connections(postgres_url: str) -> None:
    read_only = Address(with_parameters(postgres_url, options="-c default_transaction_read_only=on"))
    async with CheckedPool(
        read_only, name="test", min_size=3, max_size=3, wait_s=5, statement_ms=5000
    ) as pool:
        await pool.wait()

        async def pid() -> int:
            async with pool.connection() as connection:
                return connection.info.backend_pid

        before = {await pid() for _ in range(3)}
        assert len(before) == 3
        with pytest.raises(ServerReadOnly):
            async with pool.connection() as connection:
                await connection.execute("CREATE TABLE written ()")
        assert before.isdisjoint({await pid() for _ in range(3)})
