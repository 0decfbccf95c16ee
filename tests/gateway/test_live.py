"""Streams of carts: what one gateway is told, the clients of another one see."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import httpx
import pytest
import redis.asyncio

from carts.fold import fold
from carts.operations import Change, Expire, Merged
from gateway.carts.reading import CartDocument
from gateway.live.events import Told, current, stale
from gateway.live.settings import LiveSettings
from tests.gateway.cart_client import CartClient, set_ready
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.gateway.rows import born, insert
from tests.gateway.test_hydration import some_time_ago
from tests.gateway.test_restoring import wipe
from tests.support.copies import put_copies
from tests.support.http import has_sample, http_client
from tests.support.live_streams import stream_of
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

PAUSE_S = LiveSettings().live_pause_s


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
        # Those of the test before count until the gateway notices that they are closed.
        await until(lambda: has_sample(http, "cartstream_gateway_live_streams", 0), "no stream is open")
        yield http


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
        await stream.next()
        for _ in range(3):
            await stream.heartbeat()
        assert len(stream.seen) == 1


async def test_many_changes_in_a_burst_are_few_events_and_the_last_has_them_all(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    async with stream_of(elsewhere, cart_id) as stream:
        await stream.next()
        began = time.monotonic()
        replies = await asyncio.gather(*(carts.add(cart_id) for _ in range(100)))
        assert {reply.status_code for reply in replies} == {200}
        events = len(await stream.until(quantity=100))
        assert events < 2 + (time.monotonic() - began) / (0.9 * PAUSE_S)


async def test_streams_of_a_cart_and_of_a_worker_are_limited(
    elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    async with AsyncExitStack() as stack:
        for number in (1, 1, 2, 2, 3):
            await stack.enter_async_context(stream_of(elsewhere, f"{cart_id}-{number}"))
        full = await elsewhere.get(f"/v1/carts/{cart_id}-4/stream")
        assert (full.status_code, full.json()["type"]) == (503, "/problems/streams-exhausted")
        await stack.aclose()
    await until(lambda: has_sample(elsewhere, "cartstream_gateway_live_streams", 0), "all closed")
    async with stream_of(elsewhere, cart_id) as first, stream_of(elsewhere, cart_id) as second:
        many = await elsewhere.get(f"/v1/carts/{cart_id}/stream")
        assert (many.status_code, many.json()["type"]) == (429, "/problems/too-many-streams")
        assert int(many.headers["retry-after"]) > 0
        assert int(full.headers["retry-after"]) > 0
        assert (await first.next()) == (await second.next())


async def test_a_bad_cart_id_is_refused_before_there_is_a_stream(carts: CartClient) -> None:
    reply = await carts.http.get("/v1/carts/nobody/stream")
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-identifier")


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

            async def is_added(key: str = f"{number}") -> bool:
                reply = await carts.add(cart_id, idempotency_key=key)
                # 503: in flight when its connection broke, or before there was another one.
                assert reply.status_code in {200, 503}, reply.text
                return reply.status_code == 200

            await until(is_added, "added")
            await stream.until(quantity=number)


async def test_connections_killed_under_writes_leave_every_stream_with_the_last_write(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    names = [f"{cart_id}-{number}" for number in range(4)]
    writing = True

    async def write(name: str) -> None:
        for number in range(40):
            assert (await carts.add(name, idempotency_key=f"{number}")).status_code == 200

    async def kill() -> None:
        async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:
            while writing:
                for client in await raw.client_list():
                    if client["name"] == "cartstream-gateway-live":
                        await raw.client_kill_filter(_id=client["id"])

    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(stream_of(elsewhere, name)) for name in names]
        killing = asyncio.create_task(kill())
        await asyncio.gather(*(write(name) for name in names))
        writing = False
        await killing
        for stream in streams:
            await stream.until(quantity=40)


async def test_an_event_shows_what_get_shows_with_a_catalogue_too(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    async with stream_of(shop.http, cart_id) as stream:
        await stream.next()
        added = await shop.http.post(f"/v1/carts/{cart_id}/items", json={"product_id": "cup", "quantity": 1})
        assert added.status_code == 200, added.text
        event = await stream.next()
        read = await shop.http.get(f"/v1/carts/{cart_id}")
        assert (f'"{event.id}"', event.data) == (read.headers["etag"], read.json())
        assert event.data["lines"][0]["name"]
    async with stream_of(shop.http, cart_id, last_event_id=event.id or "") as again:
        await shop.http.delete(f"/v1/carts/{cart_id}")
        assert (await again.next()).data["lines"] == []


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
        await put_copies(carts.store, partition, [(name, alive)])
        async with stream_of(elsewhere, name) as stream:
            assert (await stream.next()).kind == "cart"
            change = Change(cart_id=name, version=v + 2, op_id=op_id, delta=(step,))
            ended = fold(alive, change).state
            assert ended is not None
            await insert(carts.urls.postgres, name, ended)  # an expired cart leaves Redis
            await put_copies(carts.store, partition, [(name, ended)])
            event = await stream.next()
            assert (event.kind, event.id) == (kind, ended.version.tag())
            assert event.data["status"] == ended.status
            assert event.data["merged_into"] == ended.merged_into


async def test_streams_that_clients_close_leave_nothing_behind(
    carts: CartClient, elsewhere: httpx.AsyncClient, cart_id: str
) -> None:
    for number in range(12):
        async with stream_of(elsewhere, f"{cart_id}-{number}") as stream:
            await stream.next()
        await until(lambda: has_sample(elsewhere, "cartstream_gateway_live_streams", 0), "closed")
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:

        async def has_none() -> bool:
            return not await raw.pubsub_shardchannels()

        await until(has_none, "no partition is subscribed to")


async def test_prices_that_could_not_be_compared_are_looked_at_again(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    await shop.http.post(f"/v1/carts/{cart_id}/items", json={"product_id": "cup", "quantity": 1})
    await shop.wipe_catalogue()
    async with stream_of(shop.http, cart_id) as stream:
        first = await stream.next()
        assert first.data["warnings"] == [{"code": "catalogue_unavailable", "target": None}]
        await shop.refill_catalogue(product("cup"))
        event = await stream.next()
        assert (event.data["version"], event.data["warnings"]) == (first.data["version"], [])
        assert event.id != first.id


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
