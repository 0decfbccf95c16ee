"""Requests after Postgres has dropped its connections."""

import asyncio

import psycopg
import pytest

from store.postgres.pool import CheckedPool, Connection
from store.postgres.session import Address


async def test_the_first_request_after_all_connections_were_dropped_is_answered(postgres_url: str) -> None:
    pool = CheckedPool(
        Address(postgres_url), name="test-pool", min_size=5, max_size=5, wait_s=2.0, statement_ms=2_000
    )
    async with pool:
        await pool.wait()
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
            cursor = await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-pool'"
            )
            assert len(await cursor.fetchall()) == 5

        async def ask() -> int:
            async with pool.connection() as connection:
                found = await (await connection.execute("SELECT 1")).fetchone()
                return int(found[0]) if found else 0

        assert await ask() == 1
        assert await asyncio.gather(*(ask() for _ in range(10))) == [1] * 10


async def test_a_read_whose_connection_has_died_since_its_last_answer_is_answered(postgres_url: str) -> None:
    pool = CheckedPool(
        Address(postgres_url),
        name="test-reads",
        min_size=3,
        max_size=3,
        wait_s=2.0,
        statement_ms=2_000,
        fresh_s=60.0,
    )

    async def one(connection: Connection) -> int:
        found = await (await connection.execute("SELECT 1 FROM pg_sleep(0.05)")).fetchone()
        return int(found[0]) if found else 0

    async with pool:
        await pool.wait()
        assert await asyncio.gather(*(pool.read(one) for _ in range(3))) == [1] * 3
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
            cursor = await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-reads'"
            )
            assert len(await cursor.fetchall()) == 3
        assert await pool.read(one) == 1
        assert await asyncio.gather(*(pool.read(one) for _ in range(10))) == [1] * 10


async def test_a_read_that_takes_too_long_is_not_done_again(postgres_url: str) -> None:
    asked = 0

    async def sleep(connection: Connection) -> None:
        nonlocal asked
        asked += 1
        await connection.execute("SELECT pg_sleep(60)")

    pool = CheckedPool(
        Address(postgres_url), name="test-slow", min_size=1, max_size=1, wait_s=5.0, statement_ms=100
    )
    async with pool:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await pool.read(sleep)
    assert asked == 1


@pytest.mark.parametrize(("code", "times"), [("53100", 1), ("53200", 1), ("55P03", 1), ("57P01", 2)])
async def test_a_read_is_done_again_only_where_the_server_is_gone(
    postgres_url: str, code: str, times: int
) -> None:
    asked: list[int] = []

    async def fail(connection: Connection) -> None:
        asked.append(connection.info.backend_pid)
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")

    pool = CheckedPool(
        Address(postgres_url), name="test-refused", min_size=1, max_size=1, wait_s=5.0, statement_ms=2_000
    )
    async with pool:
        await pool.wait()
        with pytest.raises(psycopg.OperationalError):
            await pool.read(fail)
        async with pool.connection() as connection:
            asked.append(connection.info.backend_pid)
    assert len(asked) == times + 1
    assert (asked[0] == asked[-1]) is (times == 1)
