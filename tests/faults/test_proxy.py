"""The proxy breaks like a network, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from devstack.free_ports import free_ports
from tests.faults.proxy import NetworkCondition, Proxy


@dataclass
class Echo:
    """A server behind the proxy that sends back what it gets; `heard` is set once it got something."""

    proxy: Proxy
    heard: asyncio.Event

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection through the proxy."""
        return await asyncio.open_connection("127.0.0.1", self.proxy.port)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A proxy in front of an echo."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            heard.set()
            writer.write(data)
        writer.close()

    heard = asyncio.Event()
    port, upstream = free_ports(2)
    async with await asyncio.start_server(answer, "127.0.0.1", upstream), Proxy(port, upstream) as proxy:
        yield Echo(proxy, heard)


async def test_a_normal_network_forwards_both_ways(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_a_cut_resets_what_stands_and_what_comes(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"hello")
    await reader.readexactly(5)
    echo.proxy.condition = NetworkCondition.CUT
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    reader, writer = await echo.connect()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_a_half_open_connection_delivers_requests_and_keeps_replies(echo: Echo) -> None:
    reader, writer = await echo.connect()
    echo.proxy.condition = NetworkCondition.HALF_OPEN
    writer.write(b"hello")
    await echo.heard.wait()
    reply = asyncio.ensure_future(reader.readexactly(5))
    done, _ = await asyncio.wait([reply], timeout=0.2)
    assert not done
    echo.proxy.condition = NetworkCondition.NORMAL
    assert await reply == b"hello"
    writer.close()


async def test_what_is_held_up_arrives_once_the_network_is_normal(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    echo.heard.clear()
    echo.proxy.condition = NetworkCondition.HELD_UP
    writer.write(b"world")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(echo.heard.wait(), 0.2)
    echo.proxy.condition = NetworkCondition.NORMAL
    assert await reader.readexactly(5) == b"world"
    writer.close()


async def test_a_slow_network_still_delivers_all_in_order(echo: Echo) -> None:
    echo.proxy.condition = NetworkCondition.SLOW
    reader, writer = await echo.connect()
    writer.write(b"hello ")
    writer.write(b"world")
    assert await reader.readexactly(11) == b"hello world"
    writer.close()


async def test_a_resetting_network_resets_connections_at_any_byte(echo: Echo) -> None:
    echo.proxy.condition = NetworkCondition.RESETTING
    resets = 0
    for _ in range(200):
        reader, writer = await echo.connect()
        writer.write(b"hello")
        try:
            assert b"hello".startswith(await reader.read(5))
        except ConnectionError:
            resets += 1
        writer.close()
    assert 0 < resets < 200
