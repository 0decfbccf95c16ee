"""A client that is slow, holds much or opens many connections gets its answer, and no more than its share."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.cart_client import item
from tests.gateway.conftest import catalogue_client_of
from tests.gateway.raw_answers import Answer, answers, check_problem
from tests.support.http import has_sample, http_client
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

CONNECTIONS = 24
BOUNDS = {
    "CARTSTREAM_HEAD_WAIT_S": "1",
    "CARTSTREAM_BODY_WAIT_S": "1",
    "CARTSTREAM_CONNECTIONS_PER_ADDRESS": str(CONNECTIONS),
    "CARTSTREAM_PROXY_NETWORKS": "",
    "CARTSTREAM_BODIES_BYTES": str(1024 * 1024),
}
LARGE = 250_000
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
ADD = b"POST /v1/carts/user:slow/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LARGE_ADD = ADD + b"Content-Length: %d\r\n\r\n" % LARGE
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
IMPORT = b"POST /v1/products/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def bounded(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a catalogue and narrow bounds."""
    folder: Path = tmp_path_factory.mktemp("bounded")
    process = GatewayProcess({**urls.environment(), **INTERNAL, **BOUNDS}, folder)
    process.start()
    yield process
    process.kill()


@asynccontextmanager
async def connected(gateway: GatewayProcess, sent: bytes) -> AsyncIterator[Streams]:
    """A connection on which something was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.close()


async def told(gateway: GatewayProcess, sent: bytes) -> list[Answer]:
    """What is answered until the gateway closes the connection."""
    async with connected(gateway, sent) as (reader, _):
        return answers(await reader.read())


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a byte again and again until the gateway closes the connection; what was received."""

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    try:
        return await reader.read()
    finally:
        sending.cancel()


UNFINISHED = {
    "headers": LIVE[:-2],
    "first line": LIVE[:5],
    "body": ADD + b"Content-Length: 1000\r\n\r\n{",
    "chunk": ADD + CHUNKED + b"fff\r\n{",
    "import": IMPORT + b"Content-Length: 1000\r\n\r\n{",
}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED.keys())
async def test_a_request_that_stalls_is_answered_408(sent: bytes, bounded: GatewayProcess) -> None:
    check(await told(bounded, sent), 408, "request-timeout")


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED.keys())
async def test_a_request_that_drips_is_answered_408(sent: bytes, bounded: GatewayProcess) -> None:
    async with connected(bounded, sent) as (reader, writer):
        check(answers(await drip(reader, writer)), 408, "request-timeout")


async def test_a_client_that_sends_nothing_is_cut(bounded: GatewayProcess) -> None:
    async with connected(bounded, b"") as (reader, _), http_client(bounded.url) as http:
        assert await reader.read() == b""
        sample = 'cartstream_gateway_connections_cut_total{reason="silent"}'
        assert not await has_sample(http, sample, 0)


async def test_an_import_that_stalls_tells_what_it_has_kept(bounded: GatewayProcess, urls: Urls) -> None:
    async with (
        catalogue_client_of(bounded, urls),
        connected(bounded, IMPORT + b'Content-Length: 1000\r\n\r\n{"product_id":1}\nhalf a li') as (
            reader,
            _,
        ),
    ):
        received = await reader.read()
    assert b'"type":"error","line":1' in received
    assert b'"type":"stopped","lines":1,"imported":0' in received


async def test_large_bodies_beyond_the_bound_are_refused_and_small_ones_are_not(
    bounded: GatewayProcess,
) -> None:
    small = json.dumps(item()).encode()
    add = ADD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(small) + small

    async def are_refused() -> bool:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(connected(bounded, LARGE_ADD))
            (answer,) = await told(bounded, LARGE_ADD)
            (other,) = await told(bounded, add)
        assert b"bodies-full" not in other.body
        if answer.status == 503:
            check([answer], 503, "bodies-full")
            assert answer.headers["retry-after"] == "1"
        return answer.status == 503

    await until(are_refused, "no room for another large body")

    async def has_room() -> bool:
        async with connected(bounded, LARGE_ADD + b" " * LARGE) as (reader, _):
            return (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")

    await until(has_room, "room for another large body")


async def test_connections_beyond_the_bound_are_refused_until_others_end(bounded: GatewayProcess) -> None:
    async def is_let_in() -> bool:
        async with connected(bounded, LIVE) as (reader, _):
            return (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client(bounded.url))
        # Those of the tests before count until the gateway notices that they have ended.
        await until(lambda: has_sample(http, "cartstream_gateway_connections", 1), "no other connection")
        opened: list[Streams] = []

        async def is_full() -> bool:
            reader, writer = await stack.enter_async_context(connected(bounded, LIVE))
            opened.append((reader, writer))
            if (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 "):
                return False
            assert b"retry-after: 1\r\n" in await reader.read()
            return True

        await until(is_full, "the bound of the address")
        check(await told(bounded, LIVE), 503, "connections-full")
        assert len(opened) <= CONNECTIONS + 1
        opened[0][1].close()
        await until(is_let_in, "room for another connection")


def check(found: list[Answer], status: int, slug: str) -> None:
    """There is one answer, a problem of this type, and the connection has ended."""
    (answer,) = found
    assert (answer.status, answer.headers["connection"]) == (status, "close"), answer
    check_problem(answer, slug)
