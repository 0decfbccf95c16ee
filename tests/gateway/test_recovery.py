"""Links in messages about carts left behind: what they lead to, and how mails end."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from carts.operations import Change, Erase
from runtime.recovery import IdlePeriod, SignedLinks, hash_of
from store.postgres import abandonments, erasure
from tests.gateway.cart_client import CartClient
from tests.gateway.conftest import client_of
from tests.support.processes import PRICED_BY_CALLER, GatewayProcess
from tests.support.servers import Urls
from topics.records import AbandonmentKind, AbandonmentRecord

KEY = "links-to-carts-left-behind-are-signed-so"
LINKS = SignedLinks([KEY])
FOREVER = 2**40
PRODUCTION = {
    "CARTSTREAM_MODE": "production",
    "CARTSTREAM_GUEST_TOKEN_KEYS": "guest-tokens-are-signed-with-this-key",
    "CARTSTREAM_JWT_SECRET": "a-secret-of-at-least-32-characters",
    "CARTSTREAM_RECOVERY_KEYS": KEY,
}


@pytest.fixture(scope="module")
def gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway in production mode that knows the key of links."""
    environment = {**urls.environment(), **PRICED_BY_CALLER, **PRODUCTION}
    process = GatewayProcess(environment, tmp_path_factory.mktemp("recovery"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def carts(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of that gateway."""
    async with client_of(gateway, urls) as found:
        yield found


@pytest.fixture
async def connection(urls: Urls) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to its database."""
    async with await psycopg.AsyncConnection.connect(urls.postgres, autocommit=True) as found:
        yield found


async def left_behind(connection: psycopg.AsyncConnection[Any], cart_id: str) -> IdlePeriod:
    """The cart was told of as left behind."""
    now = datetime.now(UTC)
    record = AbandonmentRecord(
        type=AbandonmentKind.ABANDONED,
        cart_id=cart_id,
        version_number=100,
        idle_since=now,
        at=now,
        currency="EUR",
        subtotal=100,
    )
    async with connection.transaction():
        await abandonments.tell(connection, record, None, mails_per_day=1)
    return IdlePeriod(cart_id, 100)


async def test_a_link_gives_a_guest_a_fresh_token_for_the_cart(
    carts: CartClient, connection: psycopg.AsyncConnection[Any]
) -> None:
    cart_id = (await carts.http.post("/v1/carts")).json()["cart_id"]
    link = LINKS.recovery(await left_behind(connection, cart_id), FOREVER)
    reply = await carts.http.get(f"/v1/recover/{link}")
    assert (reply.status_code, reply.headers["referrer-policy"]) == (200, "no-referrer")
    found = reply.json()
    assert (found["cart_id"], found["cart"]) == (cart_id, f"/v1/carts/{cart_id}")
    bearer = {"authorization": f"Bearer {found['token']}"}
    assert (await carts.http.get(found["cart"], headers=bearer)).json()["cart_id"] == cart_id
    other = (await carts.http.post("/v1/carts")).json()["cart_id"]
    assert (await carts.http.get(f"/v1/carts/{other}", headers=bearer)).status_code == 404
    renewed = await carts.http.post(f"/v1/carts/{cart_id}/token", headers=bearer)
    assert renewed.json()["cart_id"] == cart_id


async def test_a_link_gives_a_user_the_address_and_no_token(
    carts: CartClient, connection: psycopg.AsyncConnection[Any], cart_id: str
) -> None:
    link = LINKS.recovery(await left_behind(connection, cart_id), FOREVER)
    found = (await carts.http.get(f"/v1/recover/{link}")).json()
    assert found == {"cart_id": cart_id, "cart": f"/v1/carts/{cart_id}", "token": None, "expires_at": None}


async def test_a_link_is_useless_after_its_time_and_after_the_cart_was_erased(
    carts: CartClient, connection: psycopg.AsyncConnection[Any], cart_id: str
) -> None:
    period = await left_behind(connection, cart_id)
    late, good = LINKS.recovery(period, 1), LINKS.recovery(period, FOREVER)
    assert (await carts.http.get(f"/v1/recover/{late}")).json()["type"] == "/problems/link-not-found"
    assert (await carts.http.get(f"/v1/recover/{good}")).status_code == 200
    change = Change(cart_id=cart_id, version=201, op_id="!erase/1", delta=(Erase(),))
    async with connection.transaction():
        await erasure.erase(connection, change)
    assert (await carts.http.get(f"/v1/recover/{good}")).json()["type"] == "/problems/link-not-found"


async def test_a_link_to_what_was_never_told_of_leads_nowhere(carts: CartClient, cart_id: str) -> None:
    link = LINKS.recovery(IdlePeriod(cart_id, 100), FOREVER)
    forged = SignedLinks(["another-key-of-at-least-32-characters"]).recovery(
        IdlePeriod(cart_id, 100), FOREVER
    )
    for each in (link, forged, "r1.none"):
        assert (await carts.http.get(f"/v1/recover/{each}")).status_code == 404


async def test_one_click_unsubscribes_and_a_look_does_not(
    carts: CartClient, connection: psycopg.AsyncConnection[Any], cart_id: str
) -> None:
    address = f"{cart_id.removeprefix('user:')}@example.org"
    link = LINKS.unsubscribe(address)

    async def suppressed() -> bool:
        found = await connection.execute(
            "SELECT FROM mail_suppressions WHERE address_hash = %s", (hash_of(address),)
        )
        return found.rowcount == 1

    page = await carts.http.get(f"/v1/unsubscribe/{link}")
    policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    assert page.headers["content-security-policy"] == policy
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not await suppressed()
    for _ in range(2):
        reply = await carts.http.post(
            f"/v1/unsubscribe/{link}",
            content="List-Unsubscribe=One-Click",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert reply.status_code == 200
    assert await suppressed()
    for method in ("GET", "POST"):
        assert (await carts.http.request(method, "/v1/unsubscribe/u1.none")).status_code == 404


async def test_links_are_not_logged(carts: CartClient, gateway: GatewayProcess) -> None:
    link = LINKS.unsubscribe("logged@example.org")
    await carts.http.post(f"/v1/unsubscribe/{link}")
    assert link not in gateway.log.read_text()
