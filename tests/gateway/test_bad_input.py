"""Every bad request is a 4xx problem that says what to do, and changes neither cart nor outbox nor topic."""

import asyncio
import json
from typing import Any, NamedTuple

import httpx
import pytest

from tests.gateway.cart_client import CartClient, item
from tests.support.waiting import until

ADD = "/v1/carts/{cart}/items"
CART = "/v1/carts/{cart}"
LINE = "/v1/carts/{cart}/items/sku-1"
JSON = {"content-type": "application/json"}
HOST = b"Host: x\r\n"
CLOSE = b"Connection: close\r\n"


class Bad(NamedTuple):
    """A request, and the status, type and pointer of the problem that answers it."""

    method: str
    path: str
    body: bytes
    status: int
    slug: str
    pointer: str | None = None
    headers: dict[str, str] = JSON


def add(status: int, slug: str, pointer: str | None = None, **changes: Any) -> Bad:
    """An add whose body differs from a good one; None takes a member away."""
    body = {name: value for name, value in {**item(), **changes}.items() if value is not None}
    return Bad("POST", ADD, json.dumps(body).encode(), status, slug, pointer)


def patch(pointer: str, *operations: object) -> Bad:
    """A PATCH of a cart whose schema is broken at `pointer`."""
    return Bad("PATCH", CART, json.dumps({"operations": operations}).encode(), 422, "invalid-body", pointer)


GOOD = json.dumps(item()).encode()
GOOD_ADD = {"op": "add", **item()}

BAD = {
    "unknown field": add(422, "invalid-body", "/colour", colour="red"),
    "missing field": add(422, "invalid-body", "/currency", currency=None),
    "quantity 0": add(422, "invalid-body", "/quantity", quantity=0),
    "quantity negative": add(422, "invalid-body", "/quantity", quantity=-1),
    "quantity 1e9": add(422, "invalid-body", "/quantity", quantity=10**9),
    "quantity of 40 digits": add(422, "invalid-body", "/quantity", quantity=10**40),
    "quantity a string": add(422, "invalid-body", "/quantity", quantity="1"),
    "quantity 1.5": add(422, "invalid-body", "/quantity", quantity=1.5),
    "quantity true": add(422, "invalid-body", "/quantity", quantity=True),
    "price negative": add(422, "invalid-body", "/unit_price", unit_price=-1),
    "price 2^44": add(422, "invalid-body", "/unit_price", unit_price=2**44),
    "currency in small letters": add(422, "invalid-body", "/currency", currency="eur"),
    "currency with a newline": add(422, "invalid-body", "/currency", currency="EUR\n"),
    "product id that begins with a space": add(422, "invalid-body", "/product_id", product_id=" a"),
    "product id too long": add(422, "invalid-body", "/product_id", product_id="a" * 129),
    "option not a string": add(422, "invalid-body", "/options/size", options={"cut": "x", "size": 4}),
    "option too long": add(422, "invalid-body", "/options/a~1b", options={"a/b": "x" * 257}),
    "option with a line feed": add(
        422, "invalid-body", "/options/engraving", options={"engraving": "A\nDear"}
    ),
    "option turned around": add(422, "invalid-body", "/options/a~1b", options={"a/b": "x\u202egnp.exe"}),
    "option named with a control character": add(422, "invalid-body", None, options={"a\x85": "b"}),
    "e-mail that no mail can reach": Bad(
        "PATCH", "/v1/carts/{cart}/details", b'{"email":"a@b..example"}', 422, "invalid-body", "/email"
    ),
    "e-mail of an order that no mail can reach": Bad(
        "POST", "/v1/carts/{cart}/checkout", b'{"email":"a@192.0.2.1"}', 422, "invalid-body", "/email"
    ),
    "option with a long name": add(
        422, "invalid-body", f"/options/{'k' * 65}", options={"size": "M", "k" * 65: "v"}
    ),
    "option without a name": add(422, "invalid-body", "/options/", options={"size": "M", "": "v"}),
    "option without a name in a list": patch(
        "/operations/1/options/", GOOD_ADD, {**GOOD_ADD, "options": {"": "v"}}
    ),
    "unknown field with a backtick": add(422, "invalid-body", "/a`b", **{"a`b": 1}),
    "metadata an array": add(422, "invalid-body", "/metadata", metadata=[1]),
    "metadata too large": add(422, "invalid-body", "/metadata", metadata={"x": "y" * 17_000}),
    "metadata too deep": add(
        422, "invalid-body", "/metadata", metadata={"x": json.loads("[" * 40 + "]" * 40)}
    ),
    "metadata that Postgres makes 309 digits of": add(
        422, "invalid-body", "/metadata", metadata={"x": [1e308]}
    ),
    "NUL in a value": add(422, "invalid-body", "/metadata/note", metadata={"note": "a\0b"}),
    "NUL in a name": add(422, "invalid-body", None, metadata={"a\0b": 1}),
    "NUL in an option": add(422, "invalid-body", "/options/size", options={"size": "\0"}),
    "501 lines": Bad(
        "PATCH",
        CART,
        json.dumps({"operations": [{"op": "add", **item(f"p-{n}")} for n in range(501)]}).encode(),
        422,
        "invalid-body",
        "/operations",
    ),
    "no operations": patch("/operations"),
    "unknown operation": patch("/operations/0/op", {"op": "explode"}),
    "operation without its kind": patch("/operations/0/op", {"quantity": 1}),
    "fourth operation wrong": patch(
        "/operations/3/quantity", GOOD_ADD, GOOD_ADD, GOOD_ADD, {**GOOD_ADD, "quantity": 0}
    ),
    "field of another operation": patch("/operations/1/quantity", GOOD_ADD, {"op": "clear", "quantity": 1}),
    "line id of dots": patch("/operations/0/line_id", {"op": "remove", "line_id": ".."}),
    "nothing to change": Bad("PATCH", LINE, b"{}", 422, "invalid-body"),
    "put without quantity": Bad("PUT", LINE, b'{"metadata":{}}', 422, "invalid-body", "/quantity"),
    "put quantity 1000": Bad("PUT", LINE, b'{"quantity":1000}', 422, "invalid-body", "/quantity"),
    "body null": Bad("POST", ADD, b"null", 422, "invalid-body"),
    "body an array": Bad("POST", ADD, b"[]", 422, "invalid-body"),
    "no body": Bad("POST", ADD, b"", 400, "malformed-json"),
    "half a body": Bad("POST", ADD, GOOD[:-1], 400, "malformed-json"),
    "bad UTF-8": Bad("POST", ADD, GOOD.replace(b"sku-1", b"sk\xff-1"), 400, "malformed-json"),
    "lone high surrogate": Bad("POST", ADD, GOOD.replace(b"sku-1", b"\\ud800"), 400, "malformed-json"),
    "lone low surrogate": Bad("POST", ADD, GOOD.replace(b"sku-1", b"\\udc00"), 400, "malformed-json"),
    "NaN": Bad("POST", ADD, GOOD.replace(b"1999", b"NaN"), 400, "malformed-json"),
    "nesting bomb": Bad(
        "POST",
        ADD,
        GOOD[:-1] + b',"metadata":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        422,
        "invalid-body",
    ),
    "1 MB body": Bad("POST", ADD, GOOD[:-1] + b" " * 1_000_000 + b"}", 413, "body-too-large"),
    "wrong content type": Bad(
        "POST", ADD, GOOD, 415, "unsupported-media-type", headers={"content-type": "text/xml"}
    ),
    "no content type": Bad("POST", ADD, GOOD, 415, "unsupported-media-type", headers={}),
    "cart id without kind": Bad("POST", "/v1/carts/42/items", GOOD, 400, "invalid-identifier"),
    "cart id with a quote": Bad("POST", "/v1/carts/user:a%22b/items", GOOD, 400, "invalid-identifier"),
    "cart id too long": Bad("POST", f"/v1/carts/user:{'a' * 129}/items", GOOD, 400, "invalid-identifier"),
    "cart id not UTF-8": Bad("GET", "/v1/carts/user:%ff", b"", 400, "invalid-identifier"),
    "line id not valid": Bad("DELETE", "/v1/carts/{cart}/items/a%0Ab", b"", 400, "invalid-identifier"),
    "line that is not there": Bad(
        "PATCH", "/v1/carts/{cart}/items/sku-9", b'{"quantity":2}', 404, "line-not-found"
    ),
    "other currency": add(422, "currency-mismatch", currency="USD"),
    "more than 999 of a line": add(422, "limit-exceeded", quantity=999),
    "If-Match without quotes": Bad(
        "POST", ADD, GOOD, 400, "invalid-header", headers={**JSON, "if-match": "abc"}
    ),
    "If-Match stale": Bad(
        "POST", ADD, GOOD, 412, "precondition-failed", headers={**JSON, "if-match": '"1-1-a"'}
    ),
    "If-None-Match half": Bad("GET", CART, b"", 400, "invalid-header", headers={"if-none-match": '"a'}),
    "Idempotency-Key reused": Bad(
        "POST", ADD, GOOD, 422, "idempotency-key-reused", headers={**JSON, "idempotency-key": "used"}
    ),
    "Idempotency-Key empty": Bad(
        "POST", ADD, GOOD, 400, "invalid-header", headers={**JSON, "idempotency-key": '""'}
    ),
    "Idempotency-Key of the system": Bad(
        "POST", ADD, GOOD, 400, "invalid-header", headers={**JSON, "idempotency-key": "!x"}
    ),
    "Idempotency-Key too long": Bad(
        "POST", ADD, GOOD, 400, "invalid-header", headers={**JSON, "idempotency-key": "k" * 129}
    ),
    "unknown durability": Bad(
        "POST", ADD, GOOD, 400, "invalid-header", headers={**JSON, "prefer": "durability=tape"}
    ),
    "no such address": Bad("GET", "/v1/nothing", b"", 404, "not-found"),
    "method not known here": Bad("PUT", "/v1/carts", GOOD, 405, "method-not-allowed"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_bad_input_is_a_problem_and_changes_nothing(bad: Bad, carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id, quantity=2, idempotency_key="used")
    await until(carts.outbox_is_empty, "outbox empty")
    before, ends = await carts.read(cart_id), await carts.topic.ends()

    reply = await carts.http.request(
        bad.method, bad.path.format(cart=cart_id), content=bad.body, headers=bad.headers
    )

    problem = check_problem(reply)
    assert (reply.status_code, problem["type"]) == (bad.status, f"/problems/{bad.slug}"), problem
    if bad.pointer is not None:
        assert [error["pointer"] for error in problem["errors"]] == [bad.pointer], problem
    assert await carts.read(cart_id) == before
    assert await carts.outbox_is_empty()
    # A sweeper may publish the add again that it has read a moment before it was removed.
    assert await carts.operations_since(ends) <= {"used"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/carts", {"POST"}),
        ("/v1/carts/user:1", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/v1/carts/user:1/items/mug", {"PUT", "PATCH", "DELETE"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(path: str, allowed: set[str], carts: CartClient) -> None:
    reply = await carts.http.request("TRACE", path)
    assert reply.status_code == 405
    assert set(reply.headers["allow"].split(", ")) == allowed
    assert reply.headers["allow"] in check_problem(reply)["detail"]


async def test_the_501st_line_is_refused(carts: CartClient, cart_id: str) -> None:
    starts = await carts.topic.ends()
    for start in range(0, 500, 100):
        operations = [{"op": "add", **item(f"p-{n}")} for n in range(start, start + 100)]
        reply = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
        assert reply.status_code == 200, reply.text
    await until(carts.outbox_is_empty, "outbox empty")
    before, published = await carts.read(cart_id), await carts.operations_since(starts)

    reply = await carts.add(cart_id, "p-500")

    problem = check_problem(reply)
    assert (reply.status_code, problem["type"]) == (422, "/problems/limit-exceeded")
    assert (problem["limit"], problem["bound"]) == ("lines", 500)
    assert await carts.read(cart_id) == before
    assert (await carts.outbox_entries(), await carts.operations_since(starts)) == (0, published)


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/carts/user:1 HTTP/9.9\r\n" + HOST + b"\r\n",
        b"POST /v1/carts/user:1/items HTTP/1.1\r\n" + HOST + b"Content-Length: many\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v1/carts/\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GE\xff /v1/carts/user:1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"POST /v1/carts HTTP/1.1\r\n" + HOST + CLOSE + b"Expect: \xff\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/carts HTTP/1.1\r\n" + HOST + CLOSE + b"Content-Type: \xff\r\nContent-Length: 2\r\n\r\n{}",
        b"DELETE /v1/carts/user:1 HTTP/1.1\r\n" + HOST + CLOSE + b'Prefer: durability="\xff"\r\n\r\n',
    ],
    ids=[
        *("no HTTP", "unknown version", "bad content-length", "huge header"),
        *("NUL in the path", "no path"),
        *("method of bytes", "expectation of bytes", "media type of bytes", "preference of bytes"),
    ],
)
async def test_a_request_that_is_not_http_is_a_problem_too(raw: bytes, carts: CartClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", carts.http.base_url.port)
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 4"), head
    assert "content-type: application/problem+json" in head
    assert json.loads(await reader.read())["detail"]
    writer.close()


def check_problem(reply: httpx.Response) -> dict[str, Any]:
    """The problem in the reply, complete as RFC 9457 has it."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    problem: dict[str, Any] = reply.json()
    assert problem["type"].startswith("/problems/")
    assert problem["status"] == reply.status_code
    assert problem["title"]
    assert problem["detail"]
    return problem
