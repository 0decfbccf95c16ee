"""The gateway serves the contract of the topics: the document, and the schemas that records name."""

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.gateway.cart_client import CartClient
from topics.asyncapi import document
from topics.registry import CART_CHANGED, PARTITIONS


async def test_the_document_is_that_of_this_shop(carts: CartClient) -> None:
    reply = await carts.http.get("/asyncapi.json")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == msgspec.json.decode(msgspec.json.encode(document(PARTITIONS)))


async def test_the_id_of_a_records_schema_leads_to_it(carts: CartClient, cart_id: str) -> None:
    receipt = (await carts.add(cart_id)).headers["cart-receipt"]
    record = await carts.topic.at(receipt)
    name, version = str(record.headers.dataschema).split(":")[-2:]
    reply = await carts.http.get(f"/schemas/{name}/{version}")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/schema+json")
    assert reply.json()["$id"] == record.headers.dataschema == CART_CHANGED.records[0].schema_id
    Draft202012Validator(reply.json()).validate(msgspec.json.decode(record.value or b""))
    assert (record.headers.subject, record.headers.cart_n) == (cart_id, None)
    assert record.headers.cart_v == msgspec.json.decode(record.value or b"")["v"]


@pytest.mark.parametrize("path", ["carts/1", "dead-letters-mark/1", "products/1"])
async def test_every_version_is_there(carts: CartClient, path: str) -> None:
    name, _, version = path.partition("/")
    schema = (await carts.http.get(f"/schemas/{path}")).json()
    assert schema["$id"] == f"urn:cartstream:schema:{name}:{version}"


@pytest.mark.parametrize("path", ["carts/0", "carts/99", "carts/x", "carts/01", "none/1", "..%2Fcarts/1"])
async def test_another_schema_is_not_there(carts: CartClient, path: str) -> None:
    reply = await carts.http.get(f"/schemas/{path}")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/not-found")
