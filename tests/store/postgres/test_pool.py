"""Requests after Postgres has dropped its connections."""

import asyncio

import psycopg

from store.postgres.pool import CheckedPool
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
