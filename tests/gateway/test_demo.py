"""The demo over HTTP: its files, and who may wipe Redis. What its pages do is tested in `tests/demo/`."""

import re
from itertools import chain
from typing import Any, Final

import pytest
import redis.asyncio
from sanic import Sanic

from gateway.app import create_app
from gateway.bootstrap import Container
from gateway.demo.origin import is_from_own_page
from gateway.demo.pages import read_pages
from gateway.identity.settings import Mode
from gateway.settings import GatewaySettings
from tests.gateway.cart_client import CartClient

MAILBOX: Final = "http://127.0.0.1:8025"
OPERATIONS: Final = "http://127.0.0.1:8030/ops"
HERE: Final = "127.0.0.1:8000"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HERE, "sec-fetch-site": "same-origin"},
        {"host": "localhost:8000", "sec-fetch-site": "same-origin"},
        {"host": "[::1]:8000", "sec-fetch-site": "same-origin"},
        {"host": HERE, "origin": f"http://{HERE}"},
    ],
)
def test_a_page_of_this_gateway_on_this_machine_is_its_own(headers: dict[str, str]) -> None:
    assert is_from_own_page(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HERE, "sec-fetch-site": "same-site", "origin": f"http://{HERE}"},
        {"host": HERE, "sec-fetch-site": "cross-site"},
        {"host": HERE, "sec-fetch-site": "none"},
        {"host": HERE, "origin": "http://127.0.0.1:9000"},
        {"host": HERE, "origin": "http://evil.example"},
        {"host": HERE, "origin": "null"},
        {"host": HERE},
        {"host": "evil.example:8000", "sec-fetch-site": "same-origin"},
        {"host": "[", "sec-fetch-site": "same-origin"},
        {},
    ],
)
def test_every_other_page_and_a_request_of_no_page_is_foreign(headers: dict[str, str]) -> None:
    assert not is_from_own_page(headers)


def routes_of(settings: GatewaySettings) -> set[str]:
    app: Sanic[Any, Any] = create_app(Container.build(settings))
    return {route.path for route in app.router.routes}


def test_production_mode_has_no_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two apps with one name, and none of them left to other tests.
    monkeypatch.setattr(Sanic, "_app_registry", {})
    monkeypatch.setattr(Sanic, "test_mode", True)
    secret = "a-secret-of-at-least-32-characters"
    production = GatewaySettings(mode=Mode.PRODUCTION, guest_token_keys=secret, jwt_secret=secret)
    demo = routes_of(GatewaySettings()) - routes_of(production)
    assert demo == {"", "demo", "demo/<name:str>", "demo/wipe"}


@pytest.mark.parametrize("path", ["/", "/demo", "/demo/app.js", "/demo/base.css"])
async def test_its_files_may_load_nothing_from_elsewhere(carts: CartClient, path: str) -> None:
    reply = await carts.http.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-security-policy"].startswith("default-src 'self'; ")
    again = await carts.http.get(path, headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_every_file_that_is_referred_to_is_there(carts: CartClient) -> None:
    pages = read_pages(MAILBOX, OPERATIONS)
    wanted = {
        path
        for page in pages.values()
        for path in re.findall(r'(?:href|src|from) ?=? ?"(/[^"]*)"', page.body.decode())
    }
    assert {"/demo/app.js", "/demo/device.css", "/docs", "/metrics"} <= wanted
    for path in sorted(wanted):
        assert (await carts.http.get(path)).status_code == 200, path


def test_no_page_has_a_script_or_a_style_of_its_own() -> None:
    pages = {name: page.body.decode() for name, page in read_pages(MAILBOX, OPERATIONS).items()}
    html = [text for name, text in pages.items() if name.endswith(".html")]
    assert len(html) == 2
    found = chain.from_iterable(
        re.findall(r"<style|\s(?:style|on\w+)=|<script(?! type=\S+ src)", text) for text in html
    )
    assert list(found) == []


def test_mailbox_and_operations_page_are_where_the_settings_say() -> None:
    page = read_pages('http://mail.example/?a="b"&c', "http://ops.example/?d&e").get("start.html")
    assert page is not None
    assert 'href="http://mail.example/?a=&quot;b&quot;&amp;c"' in page.body.decode()
    assert 'href="http://ops.example/?d&amp;e"' in page.body.decode()


async def test_the_demos_own_page_wipes_redis(carts: CartClient) -> None:
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:
        keys = await raw.dbsize()
        reply = await carts.http.post("/demo/wipe", headers={"sec-fetch-site": "same-origin"})
        assert (reply.status_code, reply.json()) == (200, {"deleted_keys": keys})
        assert keys > 0
        assert await raw.dbsize() == 0


async def test_nobody_else_wipes_redis(carts: CartClient) -> None:
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:
        keys = await raw.dbsize()
        for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
            reply = await carts.http.post("/demo/wipe", headers=headers)
            assert (reply.status_code, reply.json()["type"]) == (403, "/problems/forbidden")
        assert await raw.dbsize() == keys


async def test_an_unknown_file_is_not_found(carts: CartClient) -> None:
    assert (await carts.http.get("/demo/nothing.js")).status_code == 404
