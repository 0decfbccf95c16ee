"""Streams in production mode: proofs, sessions, and tickets for browsers."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import redis.asyncio

from tests.gateway.cart_client import CartClient
from tests.gateway.conftest import client_of
from tests.support.live_streams import stream_of
from tests.support.processes import GatewayProcess
from tests.support.production import PRODUCTION, bearer
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.names import IN_REDIS


@pytest.fixture(scope="module")
def guarded(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway in production mode; its tickets are good for longer than a busy machine needs."""
    environment = {**urls.environment(), **PRODUCTION, "CARTSTREAM_LIVE_TICKET_S": "60"}
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


async def test_head_of_a_stream_takes_no_ticket(production: CartClient) -> None:
    path = f"/v1/carts/{ADA}/stream?ticket={await ticket_of(production.http)}"
    for _ in range(2):
        assert (await production.http.head(path)).status_code == 200
    async with stream_of(production.http, ADA, path.partition("stream")[2]) as stream:
        assert (await stream.next()).data["cart_id"] == "user:ada@example.org"
    assert (await production.http.head(path)).status_code == 401


async def test_a_ticket_expires(production: CartClient) -> None:
    ticket = await ticket_of(production.http)
    async with redis.asyncio.Redis.from_url(production.urls.redis) as raw:
        (key,) = await raw.keys(f"{IN_REDIS}ticket:*")
        assert 0 < await raw.pttl(key) <= 60_000
        assert await raw.pexpire(key, 1)

        async def is_gone() -> bool:
            return not await raw.keys(f"{IN_REDIS}ticket:*")

        await until(is_gone, "the ticket expired")
    reply = await production.http.get(f"/v1/carts/{ADA}/stream?ticket={ticket}")
    assert reply.status_code == 401


async def test_session_cookies_and_me_work_as_they_do_elsewhere(production: CartClient) -> None:
    session = {"cookie": "cart_session=s1"}
    own = (await production.http.get("/v1/carts/me", headers=session)).json()["cart_id"]
    async with stream_of(production.http, "me", **session) as stream:
        assert (await stream.next()).data["cart_id"] == own
