"""Requests after Postgres has dropped its connections."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from devstack.free_ports import free_ports
from store.postgres.pool import CheckedPool, Connection
from store.postgres.session import Address, connect
from tests.faults.proxy import NetworkCondition, Proxy
from tests.support.waiting import PATIENCE_S, until


async def test_the_first_request_after_all_connections_were_dropped_is_answered(postgres_url: str) -> None:
    pool = CheckedPool(
        Address(postgres_url), name="test-pool", min_size=5, max_size=5, wait_s=60.0, statement_ms=30_000
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
        wait_s=60.0,
        statement_ms=30_000,
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
        Address(postgres_url), name="test-slow", min_size=1, max_size=1, wait_s=60.0, statement_ms=100
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
        Address(postgres_url), name="test-refused", min_size=1, max_size=1, wait_s=60.0, statement_ms=30_000
    )
    async with pool:
        await pool.wait()
        with pytest.raises(psycopg.OperationalError):
            await pool.read(fail)
        async with pool.connection() as connection:
            asked.append(connection.info.backend_pid)
    assert len(asked) == times + 1
    assert (asked[0] == asked[-1]) is (times == 1)


@asynccontextmanager
async def behind_a_network(
    postgres_url: str, size: int, condition: NetworkCondition
) -> AsyncIterator[tuple[CheckedPool, Proxy]]:
    """A pool that has just been opened, and the network between it and Postgres."""
    upstream = urlsplit(postgres_url)
    assert upstream.port
    (port,) = free_ports(1)
    address = Address(postgres_url.replace(f"{upstream.hostname}:{upstream.port}/", f"127.0.0.1:{port}/"))
    async with Proxy(port, upstream.port) as network:
        network.condition = condition
        pool = CheckedPool(
            address, name="test-starting", min_size=size, max_size=size, wait_s=2.0, statement_ms=2_000
        )
        async with pool:
            yield pool, network


async def test_a_process_that_starts_waits_for_the_connections_that_are_being_made(postgres_url: str) -> None:
    async with behind_a_network(postgres_url, 5, NetworkCondition.SLOW) as (pool, _):
        assert pool.get_stats()["pool_available"] == 0
        await pool.until_filled(60)
        assert pool.get_stats()["pool_available"] == 5


async def test_who_waits_gets_a_connection_once_postgres_is_back(postgres_url: str) -> None:
    async with behind_a_network(postgres_url, 2, NetworkCondition.NORMAL) as (pool, network):
        await pool.until_filled(60)
        network.condition = NetworkCondition.CUT
        waiting = asyncio.create_task(pool.getconn(timeout=60))
        await until(lambda: pool.get_stats().get("connections_errors"), "a connection that was not made")
        network.condition = NetworkCondition.NORMAL
        async with asyncio.timeout(30):
            connection = await waiting
        await pool.putconn(connection)


async def test_a_process_that_starts_waits_for_no_connection_that_is_refused() -> None:
    (port,) = free_ports(1)
    url = f"postgresql://shop@127.0.0.1:{port}/shop"
    pool = CheckedPool(
        Address(url), name="test-refused", min_size=2, max_size=2, wait_s=2.0, statement_ms=2_000
    )
    await pool.open(wait=False)
    async with asyncio.timeout(30):
        await pool.until_filled(3600)
    await pool.close()


async def test_a_process_that_starts_waits_no_longer_than_it_is_told(postgres_url: str) -> None:
    async with behind_a_network(postgres_url, 1, NetworkCondition.HELD_UP) as (pool, network):
        await pool.until_filled(0.1)
        assert pool.get_stats()["pool_available"] == 0
        network.condition = NetworkCondition.NORMAL
        await pool.until_filled(60)
        assert pool.get_stats()["pool_available"] == 1


async def test_a_read_that_is_never_answered_is_given_up_and_the_next_one_is_answered(
    postgres_url: str,
) -> None:
    """As if the server's host had gone without a word, and another one had its address since."""
    address = conninfo_to_dict(postgres_url)
    (port,) = free_ports(1)
    async with Proxy(port, int(str(address["port"]))) as proxy:
        url = make_conninfo(postgres_url, port=proxy.port)
        pool = CheckedPool(
            Address(url), name="test-silent", min_size=2, max_size=2, wait_s=1, statement_ms=500
        )
        async with pool:
            assert await pool.read(answer) == 1
            proxy.condition = NetworkCondition.HALF_OPEN
            reading = asyncio.ensure_future(pool.read(answer))
            await asyncio.wait({reading}, timeout=PATIENCE_S)
            assert reading.done()
            assert isinstance(reading.exception(), psycopg.OperationalError)
            proxy.condition = NetworkCondition.NORMAL
            assert await pool.read(answer) == 1


async def answer(connection: Connection) -> int:
    found = await (await connection.execute("SELECT 1")).fetchone()
    assert found is not None
    return int(found[0])


async def test_the_kernel_does_not_hope_for_long(postgres_url: str) -> None:
    pool = CheckedPool(
        Address(postgres_url), name="test-kernel", min_size=1, max_size=1, wait_s=60, statement_ms=500
    )
    async with pool, pool.connection() as pooled, await connect(Address(postgres_url), name="test") as other:
        for connection in (pooled, other):
            with socket.socket(fileno=os.dup(connection.fileno())) as found:
                assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
