"""Every route with every kind of caller, on a gateway in production mode: who gets through, what is told."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx
import psycopg
import pytest

from carts.merging import Merge, Strategy
from carts.view import Totals
from gateway.http.routing import Route, routes_of
from gateway.identity.access import Access
from gateway.openapi import FEATURES
from store.postgres import merges, orders
from store.postgres.order_records import PlacedOrder
from tests.gateway.cart_client import PATIENT
from tests.gateway.conftest import catalogue_client_of
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.support.http import http_client
from tests.support.processes import EXTERNAL, INTERNAL, GatewayProcess
from tests.support.production import PRODUCTION, bearer
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.codec import decode_change
from topics.records import OrderLine, OrderRecord, OrderStatus

ADA, BOB = "user:ada@example.org", "user:auth0|bob"
ORDER: Final = "o_" + "0a" * 16
MERGE: Final = "m_" + "0a" * 16
NOWHERE: Final = "o_" + "0b" * 16


class Caller(NamedTuple):
    """A kind of caller: what it sends, and the cart that the request is about."""

    headers: dict[str, str]
    cart: str


@pytest.fixture(scope="module")
def gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    # A merge that takes longer than this is left to its agent, and there is none.
    patient = {**PATIENT, "CARTSTREAM_MERGE_WAIT_S": "20"}
    environment = {**urls.environment(), **INTERNAL, **PRODUCTION, **patient}
    process = GatewayProcess(environment, tmp_path_factory.mktemp("gw"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def shop(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of that gateway; a cup for sale, a cup no longer for sale, and an order of Ada's."""
    async with catalogue_client_of(gateway, urls) as found:
        await until(lambda: reaches_kafka(found.http), "the gateway reaches Kafka")
        await found.cached_products.put(product("cup"), product("old-cup", active=False))
        await place_order(urls.postgres, ADA)
        await begin_merge(urls.postgres, ADA)
        yield found


async def reaches_kafka(http: httpx.AsyncClient) -> bool:
    ready = await http.get("/health/ready", headers=bearer("monitor", "carts"))
    return bool(ready.json()["checks"]["kafka"]["status"] == "ok")


async def place_order(postgres_url: str, cart_id: str) -> None:
    record = OrderRecord(
        order_id=ORDER,
        cart_id=cart_id,
        seq=1,
        status=OrderStatus.PLACED,
        version=1,
        currency="EUR",
        lines=[OrderLine("cup", "cup", 1, 100)],
        totals=Totals(100, 0, 0, 100),
        placed_at=datetime.now(UTC),
    )
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute("DELETE FROM order_lines")
        await connection.execute("DELETE FROM orders")
        placed = PlacedOrder(record=record, fingerprint=None, subtraction=(), snapshot_version=2)
        await orders.insert(connection, placed, key="k")


async def begin_merge(postgres_url: str, cart_id: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await merges.begin(connection, Merge(MERGE, "guest:of-ada", cart_id, Strategy.SUM))


async def mint(http: httpx.AsyncClient) -> dict[str, str]:
    minted: dict[str, str] = (await http.post("/v1/carts")).json()
    return minted


async def callers_of(http: httpx.AsyncClient) -> dict[str, Caller]:
    mine, other = await mint(http), await mint(http)
    guest = {"authorization": f"Bearer {mine['token']}"}
    every_scope = bearer("shop", "carts orders catalogue")
    return {
        "anonymous": Caller({}, ADA),
        "guest": Caller(guest, mine["cart_id"]),
        "guest, another's": Caller(guest, other["cart_id"]),
        "guest, a user's": Caller(guest, ADA),
        "shopper": Caller(bearer("ada@example.org"), ADA),
        "shopper, another's": Caller(bearer("auth0|bob"), ADA),
        "shopper, a guest's": Caller(bearer("ada@example.org"), mine["cart_id"]),
        "shopper with the guest's token": Caller(
            {**bearer("ada@example.org"), "cart-token": mine["token"]}, mine["cart_id"]
        ),
        "service": Caller(every_scope, ADA),
        "service without the scope": Caller(bearer("shop", "nothing carts"), ADA),
    }


GETS_THROUGH: Final = {
    Access.PUBLIC: set(),  # everybody
    Access.CART: {
        *("guest", "shopper", "shopper with the guest's token", "service"),
        "service without the scope",  # it has the scope `carts`
    },
    Access.CART_STREAM: {
        *("guest", "shopper", "shopper with the guest's token", "service"),
        "service without the scope",
    },
    Access.ORDERS: {"guest", "shopper", "shopper with the guest's token", "service"},
    Access.CHECKOUT: {"guest", "shopper", "shopper with the guest's token", "service"},
    Access.ORDER: {"shopper", "shopper, a guest's", "shopper with the guest's token", "service"},
    Access.MERGE: {
        *("shopper", "shopper, a guest's", "shopper with the guest's token", "service"),
        "service without the scope",
    },
    Access.ORDERS_SERVICE: {"service"},
    Access.CATALOGUE: {"service"},
    Access.SERVICE: {"service", "service without the scope"},
}
REFUSALS: Final = {
    "/problems/unauthenticated",
    "/problems/forbidden",
    "/problems/cart-not-found",
    "/problems/merge-not-found",
    "/problems/order-not-found",
}


def target(route: Route, cart: str, order_id: str = ORDER) -> str:
    names = {
        "cart_id": cart,
        "line_id": "cup",
        "product_id": "cup",
        "token": NOWHERE,
        "order_id": order_id,
        "merge_id": MERGE,
        "link": "r1.none",
        "slug": "not-found",
        "file": "docs.js",
        "name": "carts",
        "version": "3",
    }
    quoted = {name: str(httpx.URL(path=f"/{value}").raw_path, "ascii")[1:] for name, value in names.items()}
    quoted["cart_id"] = quoted["cart_id"].replace("/", "%2F")
    return route.path.format(**quoted)


def refused(reply: httpx.Response) -> bool:
    problem = reply.headers["content-type"] == "application/problem+json"
    return problem and reply.json()["type"] in REFUSALS


async def asked(http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """The reply, of one without an end its beginning."""
    async with http.stream(method, path, headers=headers) as reply:
        if reply.headers.get("content-type") != "text/event-stream":
            await reply.aread()
        return reply


ROUTES: Final = [(name, route) for feature, _ in FEATURES for name, route in routes_of(feature)]


@pytest.mark.parametrize(
    ("method", "route"),
    [(method, route) for _, route in ROUTES for method in route.methods if method != "HEAD"],
    ids=lambda value: value if isinstance(value, str) else value.path,
)
async def test_a_route_lets_through_whom_it_is_for(method: str, route: Route, shop: CatalogueClient) -> None:
    http = shop.carts.http
    callers = await callers_of(http)
    through = set()
    for name, caller in callers.items():
        headers = {**caller.headers, "content-type": "application/json"}
        reply = await asked(http, method, target(route, caller.cart), headers)
        if not refused(reply):
            through.add(name)
        elif name == "anonymous":
            assert (reply.status_code, reply.headers["www-authenticate"].split()[0]) == (401, "Bearer")
        else:
            assert reply.status_code in {403, 404}
    expected = GETS_THROUGH[route.access] or set(callers)
    if route.path.endswith("/token"):  # what is renewed is a guest's token, and it is sent
        expected = {"guest", "shopper with the guest's token"}
        through = {name for name in through if "guest" in name}
    assert through == expected


@pytest.mark.parametrize(
    "path", ["/v1/carts/{}", "/v1/carts/{}/orders", "/v1/carts/{}/history", "/v1/carts/{}?at=2"]
)
async def test_of_other_carts_nobody_learns_whether_they_exist(path: str, shop: CatalogueClient) -> None:
    http = shop.carts.http
    added = await http.post(
        "/v1/carts/me/items", json={"product_id": "cup", "quantity": 1}, headers=bearer("ada@example.org")
    )
    assert added.status_code == 200, added.text
    existing, missing = [
        await http.get(path.format(cart), headers=bearer("auth0|bob"))
        for cart in ("user:ada%40example.org", "user:nobody")
    ]
    assert existing.status_code == missing.status_code == 404
    assert existing.content == missing.content
    assert {*existing.headers.items()} == {*missing.headers.items()}


async def test_of_other_orders_nobody_learns_whether_they_exist(shop: CatalogueClient) -> None:
    for method, path in (("GET", "/v1/orders/{}"), ("POST", "/v1/orders/{}/cancel")):
        existing, missing = [
            await shop.carts.http.request(method, path.format(order), headers=bearer("auth0|bob"))
            for order in (ORDER, NOWHERE)
        ]
        assert existing.status_code == missing.status_code == 404
        assert existing.content == missing.content
    own = await shop.carts.http.get(f"/v1/orders/{ORDER}", headers=bearer("ada@example.org"))
    assert own.json()["status"] == "placed"


async def test_me_is_the_callers_own_cart(shop: CatalogueClient) -> None:
    http = shop.carts.http
    minted = await mint(http)
    guest = {"cart-token": minted["token"]}
    added = await http.post("/v1/carts/me/items", json={"product_id": "cup", "quantity": 2}, headers=guest)
    assert added.json()["cart_id"] == minted["cart_id"]
    assert (await http.get("/v1/carts/me", headers=bearer("auth0|bob"))).json()["cart_id"] == BOB
    assert (await http.get("/v1/carts/me")).status_code == 401
    assert (await http.get("/v1/carts/me", headers=bearer("shop", "carts"))).status_code == 404


async def test_a_session_is_a_guest_without_a_second_cookie(shop: CatalogueClient) -> None:
    http = shop.carts.http
    by_header, by_cookie, other = [
        (await http.get("/v1/carts/me", headers=headers)).json()["cart_id"]
        for headers in ({"cart-session": "s1"}, {"cookie": "cart_session=s1"}, {"cart-session": "s2"})
    ]
    assert by_header == by_cookie != other
    assert by_header.startswith("guest:")
    assert "s1" not in by_header


@pytest.mark.parametrize("cart", [ADA, BOB, "user:gid://shop/Customer/7", "user:Zoë", "user:日本 1"])
async def test_ids_that_people_have_go_the_whole_way(cart: str, shop: CatalogueClient) -> None:
    path = "/v1/carts/user:" + "".join(f"%{byte:02x}" for byte in cart.removeprefix("user:").encode())
    reply = await shop.carts.http.post(
        f"{path}/items",
        json={"product_id": "cup", "quantity": 1},
        headers={**bearer("shop", "carts"), "acting-for": "user:7"},
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["cart_id"] == cart
    record = await shop.carts.topic.at(reply.headers["cart-receipt"])
    change = decode_change(record.value)
    assert (record.key, change.cart_id, change.actor) == (cart, cart, "service:shop for user:7")


async def test_inactive_products_are_for_services(shop: CatalogueClient) -> None:
    http = shop.carts.http
    assert (await http.get("/v1/products/old-cup")).status_code == 404
    assert (await http.get("/v1/products/old-cup", headers=bearer("ada"))).status_code == 404
    found = await http.get("/v1/products/old-cup", headers=bearer("shop", "catalogue"))
    assert (found.status_code, found.headers["cache-control"]) == (200, "private, no-cache")
    for headers, seen in ((bearer("ada"), ["cup"]), (bearer("shop", "catalogue"), ["old-cup", "cup"])):
        named = await http.get("/v1/products?ids=old-cup,cup", headers=headers)
        assert [one["product_id"] for one in named.json()["products"]] == seen


async def test_whoever_mints_a_cart_with_items_is_its_guest(shop: CatalogueClient) -> None:
    reply = await shop.http.post("/v1/carts", json={"items": [{"product_id": "cup", "quantity": 1}]})
    assert reply.status_code == 201, reply.text
    minted = reply.json()
    read = await shop.http.get(reply.headers["location"], headers={"cart-token": minted["token"]})
    assert (read.status_code, read.json()["lines"]) == (200, minted["cart"]["lines"])
    change = decode_change((await shop.carts.topic.at(reply.headers["cart-receipt"])).value)
    assert change.actor == minted["cart_id"]


async def test_readiness_tells_details_to_services_only(shop: CatalogueClient) -> None:
    http = shop.carts.http
    assert set((await http.get("/health/ready")).json()) == {"status"}
    assert "checks" in (await http.get("/health/ready", headers=bearer("shop", "orders"))).json()


async def test_an_expired_or_forged_proof_is_told_so_except_where_none_is_needed(
    shop: CatalogueClient,
) -> None:
    http = shop.carts.http
    forged = {"authorization": "Bearer g1.AAAA.9999999999.AAAA"}
    reply = await http.get("/v1/carts/me", headers=forged)
    assert (reply.status_code, 'error="invalid_token"' in reply.headers["www-authenticate"]) == (401, True)
    assert (await http.post("/v1/carts", headers=forged)).status_code == 201
    assert (await http.get("/v1/products", headers=forged)).status_code == 200


async def test_a_token_is_renewed_for_its_own_cart_only(shop: CatalogueClient) -> None:
    http = shop.carts.http
    mine, other = await mint(http), await mint(http)
    headers = {"authorization": f"Bearer {mine['token']}"}
    renewed = await http.post(f"/v1/carts/{mine['cart_id']}/token", headers=headers)
    assert (renewed.status_code, renewed.json()["cart_id"]) == (200, mine["cart_id"])
    both = {**headers, "cart-token": other["token"]}
    assert (await http.post(f"/v1/carts/{mine['cart_id']}/token", headers=both)).status_code == 404


async def test_a_session_in_the_body_of_a_merge_is_a_proof_that_nobody_writes_down(
    shop: CatalogueClient, gateway: GatewayProcess
) -> None:
    http = shop.carts.http
    body = {"session": "a-session-that-was"}
    old, new = {"cart-session": body["session"]}, {"cart-session": "the-session-that-is"}
    before = await shop.carts.topic.ends()
    first = (await http.get("/v1/carts/me", headers=old)).json()["cart_id"]
    second = (await http.get("/v1/carts/me", headers=new)).json()["cart_id"]
    unproved = await http.post("/v1/carts/me/merge", json={"guest": first}, headers=new)
    assert (unproved.status_code, unproved.json()["type"]) == (404, "/problems/cart-not-found")
    assert (await http.post(f"/v1/carts/{second}/merge", json=body)).status_code == 401
    assert (await http.post(f"/v1/carts/{second}/merge", json=body, headers=old)).status_code == 404
    itself = await http.post("/v1/carts/me/merge", json={"session": new["cart-session"]}, headers=new)
    assert (itself.status_code, itself.json()["errors"][0]["pointer"]) == (422, "/session")
    begun = await http.post("/v1/carts/me/merge", json=body, headers=new)
    assert begun.status_code in {200, 202}, begun.text
    assert (begun.json()["guest_cart_id"], begun.json()["cart_id"]) == (first, second)
    path = begun.headers["location"]
    assert (await http.get(path, headers=new)).status_code == 200
    assert (await http.get(path, headers=old)).status_code == 404
    await until(shop.carts.outbox_is_empty, "an empty outbox")
    texts = [record.value.decode() for record in await shop.carts.topic.since(before)]
    texts += [gateway.log.read_text()]
    assert len(texts) > 1
    assert [text for text in texts if body["session"] in text or new["cart-session"] in text] == []


async def test_no_token_and_no_session_id_is_in_records_keys_or_logs(
    shop: CatalogueClient, gateway: GatewayProcess
) -> None:
    http = shop.carts.http
    minted = await mint(http)
    proofs = [
        {"authorization": f"Bearer {minted['token']}"},
        {"cart-session": "the-session-of-somebody"},
        bearer("auth0|bob"),
    ]
    before, carts = await shop.carts.topic.ends(), set()
    for headers in proofs:
        added = await http.post(
            "/v1/carts/me/items", json={"product_id": "cup", "quantity": 1}, headers=headers
        )
        assert added.status_code == 200, added.text
        carts.add(added.json()["cart_id"])
    secrets = [
        minted["token"].split(".")[1],
        "the-session-of-somebody",
        proofs[2]["authorization"].removeprefix("Bearer "),
    ]
    await until(shop.carts.outbox_is_empty, "an empty outbox")
    records = await shop.carts.topic.since(before)
    seen = [record.key + record.value.decode() + repr(record.raw_headers) for record in records]
    assert {record.key for record in records} >= carts
    raw = await shop.carts.store._client.execute("KEYS", "*")  # noqa: SLF001
    seen += [gateway.log.read_text(), repr(raw)]
    assert [secret for secret in secrets for text in seen if secret in text] == []


async def test_where_orders_are_kept_elsewhere_a_checkout_is_for_their_keeper(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {**urls.environment(), **EXTERNAL, **PRODUCTION, "CARTSTREAM_ORDERS_OWNER": "external"}
    process = GatewayProcess(environment, tmp_path_factory.mktemp("elsewhere"))
    process.start()
    try:
        async with http_client(process.url) as http:
            path = "/v1/carts/user:ada%40example.org/checkout"
            shopper = await http.post(path, headers=bearer("ada@example.org"))
            assert (shopper.status_code, shopper.json()["type"]) == (404, "/problems/cart-not-found")
            assert not refused(await http.post(path, headers=bearer("monolith", "orders")))
    finally:
        process.kill()


async def test_without_a_catalogue_only_services_state_prices(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = GatewayProcess({**urls.environment(), **PRODUCTION}, tmp_path_factory.mktemp("stated"))
    process.start()
    try:
        async with http_client(process.url) as http:
            body = {"product_id": "cup", "quantity": 1, "unit_price": 1, "currency": "EUR"}
            path = "/v1/carts/user:eve/items"
            shopper = await http.post(path, json=body, headers=bearer("eve"))
            assert (shopper.status_code, shopper.json()["type"]) == (403, "/problems/forbidden")
            service = await http.post(path, json=body, headers=bearer("monolith", "carts"))
            assert service.status_code == 200, service.text
            minted = [
                (await http.post("/v1/carts", json={"items": [body]}, headers=headers)).status_code
                for headers in (
                    {},
                    bearer("eve"),
                    bearer("shop", "orders catalogue"),
                    bearer("shop", "carts"),
                )
            ]
            assert minted == [403, 403, 403, 201]
    finally:
        process.kill()


async def test_a_merge_needs_the_proof_of_both_carts(shop: CatalogueClient) -> None:
    http = shop.carts.http
    mine, user = await mint(http), bearer("merging")

    async def merged(guest: str, headers: dict[str, str]) -> int:
        reply = await http.post("/v1/carts/me/merge", json={"guest": guest}, headers=headers)
        return reply.status_code

    assert await merged(mine["cart_id"], user) == 404
    assert await merged(mine["cart_id"], {"authorization": f"Bearer {mine['token']}"}) == 422
    assert await merged(f"{mine['token']}x", user) == 422
    assert await merged(mine["token"], {}) == 401
    assert await merged(mine["token"], user) in {200, 202}
    assert await merged(mine["cart_id"], {**user, "cart-token": mine["token"]}) in {200, 202}
    other = await http.post(
        "/v1/carts/me/merge", json={"guest": mine["token"]}, headers=bearer("somebody-else")
    )
    assert (other.status_code, other.json().get("into")) == (409, None)
