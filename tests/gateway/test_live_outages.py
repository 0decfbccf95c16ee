"""Streams while servers go away, gateways stop and clients do not read."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager

import pytest

from devstack.embedded import EmbeddedStack
from devstack.settings import REDIS
from tests.gateway.cart_client import CartClient, item
from tests.gateway.conftest import client_of
from tests.support.http import has_sample, http_client
from tests.support.live_streams import stream_of
from tests.support.outages import frozen, stopped
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

pytestmark = pytest.mark.drill

StartGateway = Callable[..., GatewayProcess]

DEAF = "cartstream_gateway_live_deaf"


@contextmanager
def unread_stream(gateway: GatewayProcess, cart_id: str) -> Iterator[None]:
    """A stream whose client never reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(f"GET /v1/carts/{cart_id}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield


async def fill(carts: CartClient, cart_id: str) -> None:
    """Add 15 lines: their events are more than the kernel keeps for a client that does not read."""
    for number in range(15):
        body = item(f"sku-{number}", metadata={"note": "x" * 16_000})
        assert (await carts.http.post(f"/v1/carts/{cart_id}/items", json=body)).status_code == 200


async def test_who_does_not_read_is_dropped_while_others_go_on(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_LIVE_SLOW_READER_S="8", CARTSTREAM_LIVE_PAUSE_S="0")
    slow = "cartstream_gateway_live_streams_ended_total" + '{reason="slow"}'
    async with client_of(gateway, breakable) as carts, stream_of(carts.http, cart_id) as stream:
        with unread_stream(gateway, cart_id):
            await until(lambda: has_sample(carts.http, "cartstream_gateway_live_streams", 2), "both open")
            reading = asyncio.create_task(stream.until(quantity=15))
            await fill(carts, cart_id)
            await reading
            await until(lambda: has_sample(carts.http, slow, 1), "the slow one dropped")
        await carts.add(cart_id, "last")
        await stream.until(quantity=16)


async def test_who_does_not_read_keeps_no_gateway_from_stopping(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_LIVE_PAUSE_S="0", CARTSTREAM_STOP_S="1")
    async with client_of(gateway, breakable) as carts:
        with unread_stream(gateway, cart_id):
            await until(lambda: has_sample(carts.http, "cartstream_gateway_live_streams", 1), "open")
            await fill(carts, cart_id)
            assert await asyncio.to_thread(gateway.stop) == 0


@pytest.mark.parametrize("away", [stopped, frozen])
async def test_without_redis_a_stream_says_so_and_then_shows_the_newest_cart(
    stack: EmbeddedStack,
    breakable: Urls,
    start_gateway: StartGateway,
    cart_id: str,
    away: Callable[[EmbeddedStack, str], AbstractContextManager[None]],
) -> None:
    gateway = start_gateway()
    async with client_of(gateway, breakable) as carts, stream_of(carts.http, cart_id) as stream:
        await carts.add(cart_id)
        await stream.until(quantity=1)
        with away(stack, REDIS):
            event = await stream.until_kind("unavailable")
            assert (event.id, event.data["type"]) == (None, "/problems/store-unavailable")
            # A reading that fails may have told the stream before the gateway knows that it is deaf.
            await until(lambda: has_sample(carts.http, DEAF, 1), "deaf")
            async with stream_of(carts.http, f"{cart_id}-new") as opened:
                assert (await opened.next()).kind == "unavailable"
        assert (await stream.until_kind("cart")).data["lines"][0]["quantity"] == 1
        await until(lambda: _is_added(carts, cart_id), "added")
        await stream.until(quantity=2)
        await until(lambda: has_sample(carts.http, DEAF, 0), "deaf no more")


async def _is_added(carts: CartClient, cart_id: str) -> bool:
    return (await carts.add(cart_id, idempotency_key="second")).status_code == 200


async def test_a_stopping_gateway_ends_its_streams_and_nothing_is_lost(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    leaving, staying = start_gateway(), start_gateway()
    async with client_of(staying, breakable) as carts, http_client(leaving.url) as http:
        await carts.add(cart_id)
        async with stream_of(http, cart_id) as stream:
            last = await stream.next()
            leaving.send(signal.SIGTERM)
            await stream.end()
            assert len(stream.retries) == 2
        await carts.add(cart_id)
        async with stream_of(carts.http, cart_id, last_event_id=last.id or "") as again:
            assert (await again.next()).data["lines"][0]["quantity"] == 2
        assert await asyncio.to_thread(leaving.wait) == 0


async def test_a_rolling_reload_ends_streams_that_come_back_to_the_new_workers(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_GATEWAY_WORKERS="2")
    before = gateway.workers()

    async def all_are_new() -> bool:
        now = gateway.workers()
        return len(now) == 2 and not now & before

    async with client_of(gateway, breakable) as carts:
        await carts.add(cart_id)
        async with AsyncExitStack() as stack:
            streams = []
            for _ in range(6):
                http = await stack.enter_async_context(http_client(gateway.url))
                streams.append(await stack.enter_async_context(stream_of(http, cart_id)))
            seen = [(await stream.next()).id for stream in streams]
            gateway.send(signal.SIGHUP)
            await asyncio.gather(*(stream.end() for stream in streams))
            assert len(set(seen)) == 1
        # One that had none of the streams may still be there, and would soon end the next one.
        await until(all_are_new, "both workers reloaded")
        async with http_client(gateway.url) as http:
            await http.post(f"/v1/carts/{cart_id}/items", json=item())
            async with stream_of(http, cart_id, last_event_id=seen[0] or "") as again:
                assert (await again.next()).data["lines"][0]["quantity"] == 2


async def test_a_stream_ends_after_its_lifetime(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_LIVE_LIFETIME_S="0.3", CARTSTREAM_LIVE_HEARTBEAT_S="0.1")
    async with client_of(gateway, breakable) as carts, stream_of(carts.http, cart_id) as stream:
        await stream.end()
        assert len(stream.retries) == 2
        ended = "cartstream_gateway_live_streams_ended_total" + '{reason="lifetime"}'
        assert await has_sample(carts.http, ended, 1)
