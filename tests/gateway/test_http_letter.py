"""HTTP as RFC 9110 has it, and what a browser is told: preconditions, methods, names, origins, pages."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from html import unescape
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import httpx
import pytest

from gateway.http.names import RESPONSE_HEADERS, Names
from gateway.http.problems import problem_types
from gateway.openapi import FEATURES
from tests.docs.tables import REFERENCE, rows
from tests.gateway.conftest import catalogue_client_of
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Urls

SHOP = "https://shop.example.com"
CUP = {"product_id": "cup", "quantity": 1}


@pytest.fixture(scope="module")
def catalogue_gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a catalogue whose replies a shop's pages may read."""
    process = GatewayProcess(
        {
            **urls.environment(),
            **INTERNAL,
            "CARTSTREAM_CORS_ORIGINS": f"{SHOP}, https://other.example.com",
            "CARTSTREAM_GATEWAY_NAMES": "carts.example.com,.internal",
        },
        tmp_path_factory.mktemp("letter"),
    )
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def shop(catalogue_gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of that gateway; there is a cup."""
    async with catalogue_client_of(catalogue_gateway, urls) as found:
        await found.cached_products.put(product())
        yield found


@pytest.fixture
def http(shop: CatalogueClient) -> httpx.AsyncClient:
    """Its HTTP client."""
    return shop.http


async def add(http: httpx.AsyncClient, cart_id: str, *headers: tuple[str, str]) -> httpx.Response:
    return await http.post(f"/v1/carts/{cart_id}/items", json=CUP, headers=list(headers))


def problem(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["type"].removeprefix("/problems/")


async def test_all_lines_of_a_condition_count_and_a_quoted_star_is_a_tag(
    http: httpx.AsyncClient, cart_id: str
) -> None:
    cart = f"/v1/carts/{cart_id}"
    tag = (await add(http, cart_id)).headers["etag"]
    several = [("if-none-match", '"x"'), ("if-none-match", tag)]
    assert (await http.get(cart, headers=several)).status_code == 304
    for none in ('"*"', '"x", "*"', '"*.x"'):
        assert (await http.get(cart, headers={"if-none-match": none})).status_code == 200
        assert problem(await add(http, cart_id, ("if-match", none))) == (412, "precondition-failed")
    for allowed in ("*", tag, f'"x", {tag}'):
        assert (await http.get(cart, headers={"if-match": allowed})).status_code == 200
    assert problem(await http.get(cart, headers={"if-match": '"x"'})) == (412, "precondition-failed")
    assert problem(await http.get(f"{cart}-new", headers={"if-match": "*"})) == (412, "precondition-failed")
    assert problem(await http.get("/v1/products/cup", headers={"if-match": '"x"'}))[0] == 412
    mixed = await add(http, cart_id, ("if-match", "*"), ("if-match", tag))
    assert problem(mixed) == (400, "invalid-header")
    changed = await add(http, cart_id, ("if-match", '"x"'), ("if-match", tag))
    assert changed.status_code == 200


async def test_if_none_match_guards_a_change(http: httpx.AsyncClient, cart_id: str) -> None:
    born = await add(http, cart_id, ("if-none-match", "*"))
    tag = born.headers["etag"]
    for found in ("*", tag, f"W/{tag}", f'"x", {tag}'):
        refused = await add(http, cart_id, ("if-none-match", found))
        assert (*problem(refused), refused.headers["etag"]) == (
            *(412, "precondition-failed"),
            re.sub(r"\.[^\"]*", "", tag),
        )
    line = f"/v1/carts/{cart_id}/items/cup"
    over = await http.put(line, json={"quantity": 2}, headers={"if-none-match": "*"})
    assert problem(over) == (412, "precondition-failed")
    assert (await add(http, cart_id, ("if-none-match", '"x"'), ("if-match", tag))).status_code == 200


async def test_an_erasure_takes_no_condition_and_no_key_that_is_none(
    http: httpx.AsyncClient, cart_id: str
) -> None:
    tag = (await add(http, cart_id)).headers["etag"]
    for headers in ({"if-match": tag}, {"idempotency-key": "with a blank"}):
        refused = await http.delete(f"/v1/carts/{cart_id}?erase=true", headers=headers)
        assert problem(refused) == (400, "invalid-header")
    assert len((await http.get(f"/v1/carts/{cart_id}")).json()["lines"]) == 1


async def test_a_product_is_put_only_if_it_is_new_or_as_it_was(http: httpx.AsyncClient) -> None:
    path = f"/v1/products/{uuid4().hex}"
    body = {"name": "Cup", "unit_price": 250, "currency": "EUR"}
    new = await http.put(path, json=body, headers={"if-none-match": "*"})
    assert new.status_code == 201
    tag = new.headers["etag"]
    for name, value in (("if-none-match", "*"), ("if-none-match", tag), ("if-match", '"*"')):
        refused = await http.put(path, json={**body, "unit_price": 1}, headers={name: value})
        assert (*problem(refused), refused.headers["etag"]) == (412, "precondition-failed", tag), value
    several = [("if-match", '"x"'), ("if-match", tag)]
    assert (await http.patch(path, json={"unit_price": 2}, headers=several)).status_code == 200


async def test_a_cart_may_be_kept_and_is_asked_about_and_a_change_is_not_kept(
    http: httpx.AsyncClient, cart_id: str
) -> None:
    changed = await add(http, cart_id)
    assert changed.headers["cache-control"] == "private, no-store"
    read = await http.get(f"/v1/carts/{cart_id}")
    same = await http.get(f"/v1/carts/{cart_id}", headers={"if-none-match": read.headers["etag"]})
    for reply in (read, same):
        assert reply.headers["cache-control"] == "private, no-cache"
        assert {"authorization", "cart-token", "cart-session", "cookie"} <= set(
            re.split(", ", ", ".join(reply.headers.get_list("vary")))
        )
    assert same.status_code == 304


@pytest.mark.parametrize("name", ["idempotency-key", "content-type"])
async def test_of_a_header_that_is_no_list_there_is_one(
    name: str, http: httpx.AsyncClient, cart_id: str
) -> None:
    value = "k" if name == "idempotency-key" else "application/json"
    headers = [("content-type", "application/json"), (name, value), (name, value)]
    reply = await http.post(f"/v1/carts/{cart_id}/items", content=json.dumps(CUP), headers=headers)
    assert problem(reply) == (400, "invalid-header")
    assert name in reply.json()["detail"]


async def test_a_body_that_says_it_is_compressed_is_refused(http: httpx.AsyncClient, cart_id: str) -> None:
    path = f"/v1/carts/{cart_id}/items"
    refused = await http.post(path, json=CUP, headers={"content-encoding": "br"})
    assert (*problem(refused), refused.headers["accept-encoding"]) == (
        *(415, "unsupported-media-type"),
        "identity",
    )
    assert (await http.post(path, json=CUP, headers={"content-encoding": "identity"})).status_code == 200


async def test_head_is_answered_wherever_get_is(http: httpx.AsyncClient, cart_id: str) -> None:
    await add(http, cart_id)
    paths = [
        *("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/problems", "/demo", "/"),
        *("/asyncapi.json", "/schemas/carts/3"),
        *("/v1/products", "/v1/products/cup", f"/v1/carts/{cart_id}", f"/v1/carts/{cart_id}/orders"),
    ]
    for path in paths:
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        names = {"content-type", "etag", "cache-control", "content-security-policy"}
        assert {name: head.headers.get(name) for name in names} == {
            name: got.headers.get(name) for name in names
        }
    stream = await http.head(f"/v1/carts/{cart_id}/stream")
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
    assert "content-length" not in stream.headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/carts", {"POST"}),
        ("/v1/carts/user:1", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/v1/products/import", {"GET", "HEAD", "POST", "PUT", "PATCH"}),
        ("/v1/products/cup", {"GET", "HEAD", "PUT", "PATCH"}),
    ],
)
async def test_options_and_405_tell_the_methods(
    path: str, allowed: set[str], http: httpx.AsyncClient
) -> None:
    told = await http.options(path)
    assert (told.status_code, set(told.headers["allow"].split(", "))) == (204, allowed | {"OPTIONS"})
    for method in ("TRACE", "PURGE"):
        refused = await http.request(method, path)
        assert (problem(refused)[0], set(refused.headers["allow"].split(", "))) == (405, allowed), method
    assert problem(await http.options("/v1/nothing")) == (404, "not-found")


async def test_a_product_may_be_named_as_a_path_is(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("import"))
    read = await shop.http.get("/v1/products/import")
    assert (read.status_code, read.json()["product_id"]) == (200, "import")


async def test_the_type_of_every_problem_leads_to_a_page(http: httpx.AsyncClient, cart_id: str) -> None:
    refused = await http.get(f"/v1/carts/{cart_id}/nothing")
    found = await http.get(urljoin(str(refused.url), refused.json()["type"]))
    assert (found.status_code, found.headers["content-type"]) == (200, "text/html; charset=utf-8")
    index = (await http.get("/problems")).text
    for kind in problem_types():
        page = await http.get(kind.uri)
        assert (page.status_code, kind.title in unescape(page.text), kind.uri in index) == (200, True, True)
    assert problem(await http.get("/problems/none")) == (404, "not-found")


async def test_every_page_says_what_it_may_do(http: httpx.AsyncClient) -> None:
    pages = ["/docs", "/problems", "/problems/not-found", "/", "/demo"]
    for path in pages:
        reply = await http.get(path)
        assert reply.headers["content-type"].startswith("text/html"), path
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy or "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_the_files_of_the_reference_are_kept_and_asked_about(http: httpx.AsyncClient) -> None:
    named = re.findall(r'(?:src|href)="(/docs/[^"]+)"', (await http.get("/docs")).text)
    assert len(named) == 4
    for path in named:
        got, head = await http.get(path), await http.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
        assert got.headers["content-type"].startswith(("text/css", "text/javascript"))
        same = await http.get(path, headers={"if-none-match": got.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
    assert problem(await http.get("/docs/docs.html")) == (404, "not-found")


@pytest.mark.parametrize("host", ["evil.example.org", "internal", "carts.example.com.evil.org"])
async def test_a_foreign_name_is_refused_whatever_is_asked(host: str, http: httpx.AsyncClient) -> None:
    for path in ("/v1/carts/user:1", "/health/live", "/demo", "/nothing"):
        assert problem(await http.get(path, headers={"host": host})) == (421, "misdirected-request")


@pytest.mark.parametrize(
    "host",
    [
        "carts.example.com:8443",
        "carts.example.com.",
        "CARTS.example.com",
        "a.b.internal",
        "localhost:1",
        "10.1.2.3",
        "[::1]:80",
    ],
)
async def test_the_gateways_own_names_and_addresses_are_answered(host: str, http: httpx.AsyncClient) -> None:
    assert (await http.get("/health/live", headers={"host": host})).status_code == 200


def test_without_names_an_open_gateway_is_asked_locally_and_a_closed_one_by_any() -> None:
    local, every = Names([], open_to_all=False), Names([], open_to_all=True)
    for host in ("localhost:8000", "shop.localhost", "127.0.0.1", "gateway:8000"):
        assert local.include(host)
    for host in ("evil.example.org", "", "[", "127.0.0.1.evil.org", "a@localhost", "localhost/x"):
        assert not local.include(host)
    assert every.include("carts.example.com")


async def test_pages_of_allowed_origins_may_read_replies_and_others_may_not(
    http: httpx.AsyncClient, cart_id: str
) -> None:
    path = f"/v1/carts/{cart_id}"
    await add(http, cart_id)
    for reply in (
        await http.get(path, headers={"origin": SHOP}),
        await add(http, cart_id, ("origin", SHOP)),
        await add(http, cart_id, ("origin", SHOP), ("if-match", '"x"')),
        await http.get("/v1/nothing", headers={"origin": SHOP}),
        await http.get("/v1/products", headers={"origin": SHOP}),
    ):
        assert reply.headers["access-control-allow-origin"] == SHOP
        assert reply.headers["access-control-allow-credentials"] == "true"
        assert "etag" in reply.headers["access-control-expose-headers"]
        assert "origin" in ", ".join(reply.headers.get_list("vary"))
    for origin in ("https://evil.example.org", "null", f"{SHOP}.evil.org"):
        reply = await http.get(path, headers={"origin": origin})
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert "origin" in ", ".join(reply.headers.get_list("vary"))


async def test_a_browser_asks_first_without_a_proof(http: httpx.AsyncClient, cart_id: str) -> None:
    asking = {"access-control-request-method": "PATCH", "access-control-request-headers": "if-match"}
    reply = await http.options(f"/v1/carts/{cart_id}", headers={"origin": SHOP, **asking})
    assert reply.status_code == 204
    assert "PATCH" in reply.headers["access-control-allow-methods"]
    assert {"if-match", "idempotency-key", "cart-token", "authorization"} <= set(
        reply.headers["access-control-allow-headers"].split(", ")
    )


def test_every_header_of_a_reply_that_the_page_names_is_one_that_browsers_may_read() -> None:
    documented: set[Any] = {row[0].lower() for row in rows(REFERENCE / "http-api.md", "Response headers")}
    assert documented - {"connection", "cache-control", "vary"} <= set(RESPONSE_HEADERS)


def test_every_feature_answers_head_where_it_answers_get() -> None:
    for feature, _ in FEATURES:
        for member in vars(feature).values():
            route = getattr(member, "route", None)
            assert route is None or ("GET" in route.methods) == ("HEAD" in route.methods)
