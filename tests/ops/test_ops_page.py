"""The operations page over HTTP: who is let in, what may be changed, what it is made of."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from carts.operations import Add, Change, Item, SetDetails, SetMetadata
from ops.lookup.found import copy_of_record, copy_of_row, event_of
from ops.overview.collector import Collector
from ops.page.app import Page
from ops.page.settings import PageSettings

TOKEN = "a-token-that-is-long-enough-to-be-good"
LETTERS = "/ops/api/dead-letters/drop"


@asynccontextmanager
async def page(token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    # Nothing answers at these addresses: nothing of what is asked here needs a store.
    settings = PageSettings(
        ops_token=token,  # pydantic makes a secret of it
        kafka_bootstrap="127.0.0.1:1",
        redis_url="redis://127.0.0.1:1/0",
    )
    async with (
        Collector(settings) as collector,
        TestServer(Page(settings, collector).app()) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        yield client


async def test_without_a_token_only_this_machine_by_its_own_name_is_let_in() -> None:
    async with page() as client:
        assert (await client.get("/ops")).status_code == 200
        rebound = await client.get("/ops/api/overview", headers={"host": "evil.example:8030"})
        assert rebound.status_code == 403


async def test_with_a_token_a_browser_is_asked_for_it_and_a_program_sends_it() -> None:
    password = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    async with page(TOKEN) as client:
        for path in ("/ops", "/ops/static/ops.js", "/ops/api/overview", "/"):
            refused = await client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Basic ")
        for right in (f"Basic {password}", f"Bearer {TOKEN}"):
            answer = await client.get("/ops", headers={"authorization": right, "host": "ops.example"})
            assert answer.status_code == 200
        other = base64.b64encode(b"x:y").decode()
        for wrong in ("Basic !", "Basic é", "Bearer é", f"Basic {other}", "Bearer", f"Digest {TOKEN}"):
            answer = await client.get("/ops", headers={b"authorization": wrong.encode()})
            assert answer.status_code == 401


async def test_a_page_of_others_cannot_make_it_look_things_up() -> None:
    async with page() as client:
        for path in ("/ops/api/carts?id=user:1", "/ops/api/dead-letters/0:1", "/ops/api/overview"):
            answer = await client.get(path, headers={"sec-fetch-site": "cross-site"})
            assert answer.status_code == 403
        own = await client.get("/ops/api/overview", headers={"sec-fetch-site": "same-origin"})
        assert own.status_code == 200


@pytest.mark.parametrize(
    ("token", "headers", "is_refused"),
    [
        (None, {"sec-fetch-site": "same-origin"}, False),
        (None, {"sec-fetch-site": "cross-site"}, True),
        (None, {"origin": "https://evil.example"}, True),
        (None, {}, True),
        (TOKEN, {"authorization": f"Bearer {TOKEN}"}, False),
        (TOKEN, {"authorization": "BASIC", "sec-fetch-site": "same-origin"}, False),
        (TOKEN, {"authorization": "BASIC", "sec-fetch-site": "cross-site"}, True),
        (TOKEN, {"authorization": "BASIC"}, True),
    ],
)
async def test_only_the_page_itself_or_a_program_with_the_token_changes_anything(
    token: str | None, headers: dict[str, str], *, is_refused: bool
) -> None:
    password = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    sent = {name: value.replace("BASIC", f"Basic {password}") for name, value in headers.items()}
    async with page(token) as client:
        answer = await client.post(LETTERS, headers=sent, content=b"{}")
    # Whoever is let through has said neither which nor all.
    assert answer.status_code == (403 if is_refused else 400)


async def test_a_wrong_request_says_what_is_wrong() -> None:
    own = {"sec-fetch-site": "same-origin"}
    async with page() as client:
        for body, status in (
            (b"{", 400),
            (b'{"ids":["1:2"],"all":true}', 400),
            (b'{"ids":["x"]}', 400),
            (b'{"ids":["99:1"]}', 404),
            (b'{"everything":true}', 400),
        ):
            answer = await client.post(LETTERS, headers=own, content=body)
            assert (answer.status_code, bool(answer.json()["error"])) == (status, True)
        assert (await client.get("/ops/api/carts")).status_code == 400
        assert (await client.get("/ops/api/overview?since=x")).status_code == 400
        assert (await client.get("/ops/static/nothing.js")).status_code == 404


async def test_every_file_of_the_page_is_there_and_none_is_from_elsewhere() -> None:
    async with page() as client:
        asked, wanted = set[str](), {"/ops"}
        while wanted - asked:
            path = (wanted - asked).pop()
            asked.add(path)
            answer = await client.get(path)
            assert answer.status_code == 200, path
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not re.search(r'(src|href)="(https?:)?//', answer.text), path
            wanted |= set(re.findall(r'["\'](/ops/static/[^"\']+)["\']', answer.text))
            again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
        assert "/ops/static/ops.js" in asked
        assert "/ops/static/charts.js" in asked


async def test_the_overview_is_there_before_anything_was_looked_at() -> None:
    async with page() as client:
        found = (await client.get("/ops/api/overview")).json()
    assert (found["looked"], found["redis"]) == (False, {"value": None, "error": ""})


def test_beyond_this_host_the_page_needs_a_token() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert PageSettings(ops_host=host).ops_token is None
    with pytest.raises(ValidationError, match="CARTSTREAM_OPS_TOKEN"):
        PageSettings(ops_host="0.0.0.0")
    with pytest.raises(ValidationError, match="needs 32"):
        PageSettings(ops_token="short")
    assert PageSettings(ops_host="0.0.0.0", ops_token=TOKEN).ops_port == 8030


def test_what_a_shopper_has_written_is_not_shown_of_an_operation() -> None:
    step = Add("l1", 2, 990, "EUR", Item("cup", {"colour": "red"}), {"note": "for my aunt"})
    change = Change(
        cart_id="user:1",
        version=2_000_000,
        op_id="o",
        delta=(step, SetMetadata({"note": "secret"}), SetDetails(email="ada@example.org")),
        actor="user:1",
    )
    event = event_of(change, "3/17")
    assert event.steps[0] == "add · product cup · line id l1 · quantity 2 · unit price 990 · currency EUR"
    assert event.steps[1:] == ["metadata", "details"]
    assert "secret" not in msgspec.json.encode(event).decode()
    assert event.at == "1970-01-01T00:00:01+00:00"


def test_a_store_without_the_cart_says_so() -> None:
    assert copy_of_record("user:1", None).note == "no such cart"
    assert copy_of_row("user:1", []).note == "no such cart"
    assert copy_of_row("user:1", [("user:1", "{")]).note.startswith("unreadable")
