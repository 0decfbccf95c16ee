"""Details of a cart over HTTP: set, removed, kept by a clear, checked strictly."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.gateway.cart_client import CartClient
from topics.codec import decode_change

ADDRESS = {
    "name": "Ada Lovelace",
    "lines": ["c/o Babbage", "1 Dorset Street"],
    "postal_code": "W1U 4EG",
    "city": "London",
    "country": "GB",
    "phone": "+44 20 7946 0000",
}


async def patch(
    carts: CartClient, cart_id: str, headers: dict[str, str] | None = None, **named: Any
) -> httpx.Response:
    return await carts.http.patch(f"/v1/carts/{cart_id}/details", json=named, headers=headers or {})


async def test_details_are_set_and_removed_one_by_one(carts: CartClient, cart_id: str) -> None:
    first = await patch(
        carts,
        cart_id,
        email="ada@example.org",
        codes=["X", "Y", "X"],
        shipping_address=ADDRESS,
        locale="en-GB",
    )
    assert first.status_code == 200, first.text
    assert first.json()["details"] == {
        "codes": ["X", "Y"],
        "email": "ada@example.org",
        "locale": "en-GB",
        "shipping_address": ADDRESS,
    }
    second = await patch(carts, cart_id, codes=[], locale=None, shipping_method="express")
    assert second.json()["details"] == {
        "email": "ada@example.org",
        "shipping_address": ADDRESS,
        "shipping_method": "express",
    }
    read = await carts.http.get(f"/v1/carts/{cart_id}")
    assert (read.content, read.headers["etag"]) == (second.content, second.headers["etag"])
    change = decode_change((await carts.topic.at(second.headers["cart-receipt"])).value)
    assert (change.cause, len(change.delta)) == ("carts.details", 1)


async def test_a_clear_and_changes_of_lines_keep_the_details(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id)
    await patch(carts, cart_id, email="ada@example.org")
    await carts.add(cart_id, "sku-2")
    cleared = await carts.http.delete(f"/v1/carts/{cart_id}")
    assert (cleared.json()["lines"], cleared.json()["details"]) == ([], {"email": "ada@example.org"})
    again = await carts.add(cart_id)
    assert again.json()["details"] == {"email": "ada@example.org"}


async def test_details_are_one_operation_among_others_in_a_patch(carts: CartClient, cart_id: str) -> None:
    operations = [
        {"op": "details", "email": "ada@example.org", "codes": ["X"]},
        {"op": "clear"},
        {"op": "details", "codes": None},
    ]
    reply = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    assert reply.status_code == 200, reply.text
    assert reply.json()["details"] == {"email": "ada@example.org"}
    wrong = [{"op": "clear"}, {"op": "details", "email": "nobody"}]
    refused = await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": wrong})
    assert refused.json()["errors"][0]["pointer"] == "/operations/1/email"


async def test_a_retry_changes_nothing_and_another_change_with_its_key_is_refused(
    carts: CartClient, cart_id: str
) -> None:
    key = {"idempotency-key": uuid4().hex}
    await patch(carts, cart_id, key, email="ada@example.org")
    await patch(carts, cart_id, email="countess@example.org")
    retried = await patch(carts, cart_id, key, email="ada@example.org")
    assert retried.headers["idempotency-replayed"] == "true"
    assert retried.json()["details"] == {"email": "countess@example.org"}
    assert (await patch(carts, cart_id, key, email=None)).json()["type"] == "/problems/idempotency-key-reused"


async def test_if_match_guards_the_details_too(carts: CartClient, cart_id: str) -> None:
    stale = (await patch(carts, cart_id, locale="de")).headers["etag"]
    await patch(carts, cart_id, locale="fr")
    assert (await patch(carts, cart_id, {"if-match": stale}, locale="en")).status_code == 412


@pytest.mark.parametrize(
    ("named", "pointer"),
    [
        ({}, ""),
        ({"e_mail": "a@b"}, "/e_mail"),
        ({"email": "nobody"}, "/email"),
        ({"email": "a@b\n"}, "/email"),
        ({"email": "a@" + "b" * 253}, "/email"),
        ({"codes": ["X"] * 11}, "/codes"),
        ({"codes": ["X", ""]}, "/codes/1"),
        ({"codes": ["X", "a\tb"]}, "/codes/1"),
        ({"locale": "english please"}, "/locale"),
        ({"shipping_method": ""}, "/shipping_method"),
        ({"shipping_address": {"country": "Germany"}}, "/shipping_address/country"),
        ({"shipping_address": {"country": "de"}}, "/shipping_address/country"),
        ({"billing_address": {"lines": ["1", "2", "3", "4"]}}, "/billing_address/lines"),
        ({"billing_address": {"lines": ["1", "2\n"]}}, "/billing_address/lines/1"),
        ({"billing_address": {"name": "x" * 101}}, "/billing_address/name"),
        ({"billing_address": {"phone": "call me"}}, "/billing_address/phone"),
        ({"billing_address": {"street": "1"}}, "/billing_address/street"),
    ],
)
async def test_what_is_no_detail_is_refused_with_its_place(
    carts: CartClient, cart_id: str, named: dict[str, Any], pointer: str
) -> None:
    reply = await patch(carts, cart_id, **named)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-body")
    assert reply.json()["errors"][0]["pointer"] == pointer


async def test_a_cart_is_minted_with_its_locale(carts: CartClient) -> None:
    reply = await carts.http.post("/v1/carts", json={"locale": "de-CH"})
    assert reply.status_code == 201, reply.text
    assert reply.json()["cart"]["details"] == {"locale": "de-CH"}
