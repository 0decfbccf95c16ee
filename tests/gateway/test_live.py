"""Streams of carts: what one gateway is told, the clients of another one see."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from uuid import uuid4

import httpx
import pytest
import redis.asyncio

from carts.fold import fold
from carts.operations import Change, Expire, Merged
from devstack.embedded import EmbeddedStack
from devstack.settings import REDIS
from gateway.carts.reading import CartDocument
from gateway.live.events import Told, current, stale
from tests.gateway.cart_client import CartClient, item, set_ready
from tests.gateway.conftest import client_of
from tests.gateway.rows import born, insert
from tests.gateway.test_access import PRODUCTION, bearer
from tests.gateway.test_hydration import some_time_ago
from tests.gateway.test_restoring import wipe
from tests.support.http import http_client
from tests.support.live_streams import stream_of
from tests.support.outages import frozen, stopped
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

StartGateway = Callable[..., GatewayProcess]


@pytest.fixture(scope="module")
def second_gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        {
            **urls.environment(),
            "CARTSTREAM_LIVE_HEARTBEAT_S": "0.2",
            "CARTSTREAM_LIVE_STREAMS_PER_CART": "2",
            "CARTSTREAM_LIVE_STREAMS_MAX": "5",
        },
        tmp_path_factory.mktemp("second"),
    )
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def elsewhere(second_gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another gateway on the same servers: its heartbeats are quick and its limits low."""
    async with http_client(second_gateway.url) as http:
        yield http


async def metric(http: httpx.AsyncClient, sample: str) -> float:
    """The value of a sample by name and labels; 0 if there is none yet."""
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{sample} "))


async def has(http: httpx.AsyncClient, sample: str, value: float) -> bool:
    return await metric(http, sample) == value


async def test_a_change_at_one_gateway_is_an_event_at_another(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    async with stream_of(elsewhere, cart_id) as stream:
        assert stream.reply.headers["content-type"] == "text/event-stream"
        first = await stream.next()
        assert (first.kind, first.id) == ("cart", "0-0-000000000000")
        assert (len(stream.retries), first.data["lines"]) == (1, [])
        reply = await carts.add(cart_id, quantity=3)
        event = await stream.next()
        assert event.kind == "cart"
        assert f'"{event.id}"' == reply.headers["etag"]
        assert event.data == reply.json() == await carts.read(cart_id)


async def test_a_cart_id_may_hold_spaces(carts: CartClient, elsewhere: httpx.AsyncClient) -> None:
    cart_id = f"user:two%20words%20{uuid4().hex}"
    async with stream_of(elsewhere, cart_id) as stream:
        await stream.next()
        await carts.add(cart_id, quantity=2)
        assert (await stream.next()).data["lines"][0]["quantity"] == 2


async def test_a_client_that_has_the_version_is_sent_only_what_comes_then(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    old = (await carts.add(cart_id)).json()["version"]
    tag = (await carts.add(cart_id)).json()["version"]
    async with (
        stream_of(elsewhere, cart_id, last_event_id=tag) as by_header,
        stream_of(elsewhere, cart_id, f"?last_event_id={tag}") as by_query,
    ):
        await by_header.heartbeat()
        await by_query.heartbeat()
        await carts.add(cart_id)
        for stream in (by_header, by_query):
            await stream.until(quantity=3)
            assert len(stream.seen) == 1
    async with stream_of(elsewhere, cart_id, last_event_id=old) as behind:
        assert (await behind.next()).data["lines"][0]["quantity"] == 3


async def test_silence_is_filled_with_heartbeats(elsewhere: httpx.AsyncClient, cart_id: str) -> None:
    async with stream_of(elsewhere, cart_id) as stream:
        for _ in range(3):
            await stream.heartbeat()
        assert len(stream.seen) == 1


async def test_many_changes_in_a_burst_are_few_events_and_the_last_has_them_all(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    async with stream_of(elsewhere, cart_id) as stream:
        await stream.next()
        replies = await asyncio.gather(*(carts.add(cart_id) for _ in range(100)))
        assert {reply.status_code for reply in replies} == {200}
        assert len(await stream.until(quantity=100)) < 50


async def test_streams_of_a_cart_and_of_a_worker_are_limited(
    elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    async with AsyncExitStack() as stack:
        for number in (1, 1, 2, 2, 3):
            await stack.enter_async_context(stream_of(elsewhere, f"{cart_id}-{number}"))
        full = await elsewhere.get(f"/v1/carts/{cart_id}-4/stream")
        assert (full.status_code, full.json()["type"]) == (503, "/problems/streams-exhausted")
        await stack.aclose()
    await until(lambda: has(elsewhere, "cartstream_gateway_live_streams", 0), "all closed")
    async with stream_of(elsewhere, cart_id) as first, stream_of(elsewhere, cart_id) as second:
        many = await elsewhere.get(f"/v1/carts/{cart_id}/stream")
        assert (many.status_code, many.json()["type"]) == (429, "/problems/too-many-streams")
        assert int(many.headers["retry-after"]) > 0
        assert int(full.headers["retry-after"]) > 0
        assert (await first.next()) == (await second.next())


async def test_a_bad_cart_id_is_refused_before_there_is_a_stream(carts: CartClient) -> None:
    reply = await carts.http.get("/v1/carts/nobody/stream")
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-identifier")


async def test_who_does_not_read_is_dropped_while_others_go_on(
    breakable: Urls, start_gateway: StartGateway, cart_id: str
) -> None:
    gateway = start_gateway(CARTSTREAM_LIVE_SLOW_READER_S="1", CARTSTREAM_LIVE_PAUSE_S="0")
    slow = "cartstream_gateway_live_streams_ended_total" + '{reason="slow"}'
    async with client_of(gateway, breakable) as carts, stream_of(carts.http, cart_id) as stream:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", gateway.port))
            deaf.sendall(f"GET /v1/carts/{cart_id}/stream HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await until(lambda: has(carts.http, "cartstream_gateway_live_streams", 2), "both open")
            # The others read on; together the lines are more than the kernel keeps for one who does not.
            reading = asyncio.create_task(stream.until(quantity=15))
            for number in range(15):
                body = item(f"sku-{number}", metadata={"note": "x" * 16_000})
                assert (await carts.http.post(f"/v1/carts/{cart_id}/items", json=body)).status_code == 200
            await reading
            await until(lambda: has(carts.http, slow, 1), "the slow one dropped")
        await carts.add(cart_id, "last")
        await stream.until(quantity=16)


@pytest.mark.parametrize("kill", ["subscriber", "every client"])
async def test_a_lost_connection_to_redis_loses_no_change(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str, kill: str
) -> None:
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw, stream_of(elsewhere, cart_id) as stream:
        await stream.next()
        for number in range(1, 6):
            ours = await raw.client_id()
            for client in await raw.client_list():
                hit = client["name"] == "cartstream-gateway-live" or kill == "every client"
                if hit and int(client["id"]) != ours:
                    await raw.client_kill_filter(_id=client["id"])
            reply = await carts.add(cart_id, idempotency_key=f"{number}")
            if reply.status_code == 503:  # in flight when its connection broke
                reply = await carts.add(cart_id, idempotency_key=f"{number}")
            assert reply.status_code == 200, reply.text
            await stream.until(quantity=number)


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
            assert await has(carts.http, "cartstream_gateway_live_deaf", 1)
            async with stream_of(carts.http, f"{cart_id}-new") as opened:
                assert (await opened.next()).kind == "unavailable"
        assert (await stream.until_kind("cart")).data["lines"][0]["quantity"] == 1
        await until(lambda: _is_added(carts, cart_id), "added")
        await stream.until(quantity=2)
        assert await has(carts.http, "cartstream_gateway_live_deaf", 0)


async def _is_added(carts: CartClient, cart_id: str) -> bool:
    return (await carts.add(cart_id, idempotency_key="second")).status_code == 200


async def test_a_restoration_is_told_with_the_copy_of_postgres_if_there_is_one(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    known = born(cart_id, some_time_ago(), quantity=3)
    await insert(carts.urls.postgres, cart_id, known)
    async with (
        stream_of(elsewhere, cart_id) as stream,
        stream_of(elsewhere, f"{cart_id}-unknown") as unknown,
    ):
        assert (await stream.next()).id == known.version.tag()
        await unknown.next()
        await wipe(carts)
        partitions = [carts.layout.partition(name) for name in (cart_id, f"{cart_id}-unknown")]
        for partition in partitions:
            await carts.store.restore_begin(partition)
        told = await stream.next()
        assert (told.kind, told.id, told.data["version"]) == ("stale", None, known.version.tag())
        told = await unknown.next()
        assert (told.kind, told.id, told.data["type"]) == ("unavailable", None, "/problems/restoring")
        await set_ready(carts.store)
        for reader, version in ((stream, known.version.tag()), (unknown, "0-0-000000000000")):
            event = await reader.next()
            assert (event.kind, event.id, event.data["version"]) == ("cart", version, version)


async def test_an_expired_cart_and_a_merged_one_are_told(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    alive = born(cart_id, some_time_ago())
    v, n = alive.version_number, alive.operation_count
    ends: dict[str, tuple[str, Merged | Expire]] = {
        "merged": ("!merged", Merged("m1", "user:successor")),
        "cart": ("!age", Expire(seen=v, seen_operation_count=n, at=v // 2 + 60_000_000)),
    }
    for kind, (op_id, step) in ends.items():
        name = f"{cart_id}-{kind}"
        partition = carts.layout.partition(name)
        await carts.store.put(partition, [(name, alive)])
        async with stream_of(elsewhere, name) as stream:
            assert (await stream.next()).kind == "cart"
            change = Change(cart_id=name, version=v + 2, op_id=op_id, delta=(step,))
            ended = fold(alive, change).state
            assert ended is not None
            await insert(carts.urls.postgres, name, ended)  # an expired cart leaves Redis
            await carts.store.put(partition, [(name, ended)])
            event = await stream.next()
            assert (event.kind, event.id) == (kind, ended.version.tag())
            assert event.data["status"] == ended.status
            assert event.data["merged_into"] == ended.merged_into


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
        assert await has(carts.http, ended, 1)


@pytest.fixture(scope="module")
def guarded(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway in production mode; its tickets are good for a second."""
    environment = {**urls.environment(), **PRODUCTION, "CARTSTREAM_LIVE_TICKET_S": "1"}
    process = GatewayProcess(environment, tmp_path_factory.mktemp("guarded"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def production(guarded: GatewayProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of that gateway."""
    async with client_of(guarded, urls) as found:
        yield found


ADA = "user:ada%40example.org"


async def ticket_of(http: httpx.AsyncClient, **headers: str) -> str:
    reply = await http.post(f"/v1/carts/{ADA}/stream-tickets", headers=headers or bearer("ada@example.org"))
    assert reply.status_code == 201, reply.text
    assert reply.headers["cache-control"] == "private, no-store"
    ticket: str = reply.json()["ticket"]
    return ticket


async def test_a_ticket_opens_one_stream_of_its_cart_and_is_in_no_log(
    production: CartClient, guarded: GatewayProcess
) -> None:
    http = production.http
    ticket = await ticket_of(http)
    async with redis.asyncio.Redis.from_url(production.urls.redis) as raw:
        keys = await raw.keys("*")
        assert not [key for key in keys if ticket.encode() in key]
    async with stream_of(http, ADA, f"?ticket={ticket}") as stream:
        assert (await stream.next()).data["cart_id"] == "user:ada@example.org"
    used = await http.get(f"/v1/carts/{ADA}/stream?ticket={ticket}")
    assert (used.status_code, used.json()["type"]) == (401, "/problems/unauthenticated")
    await until(lambda: guarded.log.read_text().count("/stream?ticket=***") >= 2, "both in the log")
    assert ticket not in guarded.log.read_text()


async def test_a_ticket_is_for_its_own_cart_and_for_streams_only(production: CartClient) -> None:
    http = production.http
    other = await http.get(f"/v1/carts/user:bob/stream?ticket={await ticket_of(http)}")
    assert (other.status_code, other.json()["type"]) == (404, "/problems/cart-not-found")
    reading = await http.get(f"/v1/carts/{ADA}?ticket={await ticket_of(http)}")
    assert reading.status_code == 401
    for wrong in ("x", "x" * 32, "%00", "x" * 3000):
        assert (await http.get(f"/v1/carts/{ADA}/stream?ticket={wrong}")).status_code == 401


async def test_a_ticket_expires(production: CartClient) -> None:
    ticket = await ticket_of(production.http)
    async with redis.asyncio.Redis.from_url(production.urls.redis) as raw:

        async def is_gone() -> bool:
            return not await raw.keys("ticket:*")

        await until(is_gone, "the ticket expired")
    reply = await production.http.get(f"/v1/carts/{ADA}/stream?ticket={ticket}")
    assert reply.status_code == 401


async def test_session_cookies_and_me_work_as_they_do_elsewhere(production: CartClient) -> None:
    session = {"cookie": "cart_session=s1"}
    own = (await production.http.get("/v1/carts/me", headers=session)).json()["cart_id"]
    async with stream_of(production.http, "me", **session) as stream:
        assert (await stream.next()).data["cart_id"] == own


async def test_streams_that_clients_close_leave_nothing_behind(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    for number in range(12):
        async with stream_of(elsewhere, f"{cart_id}-{number}") as stream:
            await stream.next()
        await until(lambda: has(elsewhere, "cartstream_gateway_live_streams", 0), "closed")
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:

        async def has_none() -> bool:
            return not await raw.pubsub_shardchannels()

        await until(has_none, "no partition is subscribed to")


BODY = b'{"status":"active"}'


def test_what_a_client_knows_is_not_news_except_after_a_doubt() -> None:
    event = current(CartDocument("2-1-aa", BODY))
    doubt = stale(CartDocument("2-1-aa", BODY, stale=True))
    assert Told(None).lacks(event)
    assert not Told("2-1-aa").lacks(event)
    assert Told("2-1-aa").lacks(doubt)
    doubting = Told("2-1-aa").after(doubt)
    assert not doubting.lacks(doubt)
    assert doubting.lacks(event)
    assert not doubting.after(event).lacks(event)


def test_a_merged_cart_has_an_event_of_its_own() -> None:
    merged = current(CartDocument("4-2-bb", b'{"status":"merged","merged_into":"user:1"}'))
    assert merged.frame == b'id: 4-2-bb\nevent: merged\ndata: {"status":"merged","merged_into":"user:1"}\n\n'
