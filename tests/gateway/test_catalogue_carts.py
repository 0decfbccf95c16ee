"""Carts with a catalogue: adds are priced and stock-checked, readers are warned of what has moved on."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from store.redis.catalogue import ProductDeletion
from tests.gateway.cart_client import CartClient, item
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.support.waiting import until


async def add(
    shop: CatalogueClient, cart_id: str, quantity: int = 1, key: str | None = None, **more: Any
) -> httpx.Response:
    """Add pieces of the cup, without a price."""
    headers = {} if key is None else {"idempotency-key": key}
    body = {"product_id": "cup", "quantity": quantity, **more}
    return await shop.http.post(f"/v1/carts/{cart_id}/items", json=body, headers=headers)


def problem(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["type"].removeprefix("/problems/")


async def test_an_add_has_the_price_of_the_catalogue(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup"))
    reply = await add(shop, cart_id, 2)
    assert reply.status_code == 200, reply.text
    (line,) = reply.json()["lines"]
    assert (line["unit_price"], reply.json()["currency"], reply.json()["totals"]["total"]) == (
        1450,
        "EUR",
        2900,
    )


async def test_what_the_shopper_was_told_is_believed_only_while_it_is_so(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    assert (await add(shop, cart_id, unit_price=1450, currency="EUR")).status_code == 200
    for stated, slug in (
        ({"unit_price": 1}, "price-changed"),
        ({"currency": "USD"}, "currency-changed"),
        ({"unit_price": 1399, "currency": "EUR"}, "price-changed"),
    ):
        refused = await add(shop, cart_id, **stated)
        assert problem(refused) == (409, slug)
        assert (refused.json()["unit_price"], refused.json()["currency"]) == (1450, "EUR")
    assert await shop.carts.quantities(cart_id) == {"cup": 1}


async def test_a_cart_finds_its_way_out_of_a_changed_currency(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup"))
    await shop.cached_products.put(product("tea"))
    await add(shop, cart_id)
    await add(shop, cart_id, product_id="tea")
    await shop.cached_products.put(product("cup", version=2, currency="USD"))
    cart = await shop.carts.read(cart_id)
    assert cart["warnings"] == [{"code": "currency_changed", "target": "cup"}]
    line = f"/v1/carts/{cart_id}/items/cup"
    refused = await shop.http.put(line, json={"quantity": 1})
    assert problem(refused) == (422, "currency-mismatch")
    assert "other lines in EUR" in refused.json()["detail"]
    await shop.http.delete(f"/v1/carts/{cart_id}/items/tea")
    taken = await shop.http.put(line, json={"quantity": 1})
    assert (taken.status_code, taken.json()["currency"]) == (200, "USD")
    assert (await shop.carts.read(cart_id))["warnings"] == []


async def test_products_have_the_ids_of_the_shop(shop: CatalogueClient, cart_id: str) -> None:
    name = "gid://shop/Thé: 7"
    await shop.cached_products.put(product(name))
    found = await shop.http.get(f"/v1/products/{quote(name, safe='')}")
    assert (found.status_code, found.json()["product_id"]) == (200, name)
    decomposed = name.replace("é", "e\u0301")
    listed = await shop.http.get("/v1/products", params={"ids": decomposed})
    assert [one["product_id"] for one in listed.json()["products"]] == [name]
    added = await add(shop, cart_id, product_id=decomposed, options={"size": "M"})
    assert added.status_code == 200, added.text
    (line,) = added.json()["lines"]
    assert line["product_id"] == name
    path = f"/v1/carts/{cart_id}/items/{quote(line['line_id'], safe='')}"
    assert (await shop.http.put(path, json={"quantity": 3})).json()["lines"][0]["quantity"] == 3
    saved = {"operations": [{"op": "save", "product_id": name, "quantity": 1}]}
    kept = await shop.http.patch(f"/v1/carts/{cart_id}", json=saved)
    assert [one["line_id"] for one in kept.json()["saved"]] == [name]
    assert (await shop.http.delete(path)).json()["lines"] == []


async def test_an_unknown_and_an_inactive_product_cannot_be_added(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", active=False))
    assert problem(await add(shop, cart_id)) == (409, "product-inactive")
    assert problem(await add(shop, cart_id, product_id="nothing")) == (422, "product-unknown")


SHIRT: dict[str, Any] = {"options": {"size": ["S", "M"], "fit/cut": ["slim"], "care": "by hand"}}


async def test_options_are_those_of_the_product_and_others_are_free(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("shirt", attributes=SHIRT))
    chosen = {"size": "M", "fit/cut": "slim"}
    for options in (chosen, {**chosen, "engraving": "for Ada"}):
        reply = await add(shop, cart_id, product_id="shirt", options=options)
        assert reply.status_code == 200, reply.text
    for options, pointer, values in (
        ({**chosen, "size": "XL"}, "/options/size", ["S", "M"]),
        ({"size": "S"}, "/options/fit~1cut", ["slim"]),
        ({}, "/options/size", ["S", "M"]),
    ):
        refused = await add(shop, cart_id, product_id="shirt", options=options)
        assert problem(refused) == (422, "option-not-offered")
        assert (refused.json()["errors"][0]["pointer"], refused.json()["values"]) == (pointer, values)
    operations = [
        {"op": "clear"},
        {"op": "add", "product_id": "shirt", "quantity": 1, "options": {"size": "L"}},
    ]
    batch = await shop.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})
    assert batch.json()["errors"][0]["pointer"] == "/operations/1/options/size"


async def test_short_stock_says_what_is_available_and_counts_what_the_line_has(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", stock=5))
    assert problem(await add(shop, cart_id, 6)) == (409, "short-stock")
    assert (await add(shop, cart_id, 3)).status_code == 200
    refused = await add(shop, cart_id, 3)
    assert problem(refused) == (409, "short-stock")
    assert refused.json()["available"] == 5
    assert (await add(shop, cart_id, 2)).status_code == 200


async def test_what_nobody_counts_is_never_short(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup", stock=None))
    assert (await add(shop, cart_id, 999)).status_code == 200


async def test_operations_of_a_patch_are_priced_together_and_errors_point_at_theirs(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", stock=5), product("pan", unit_price=4900))

    async def patch(*operations: dict[str, Any]) -> httpx.Response:
        return await shop.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})

    cups = {"op": "add", "product_id": "cup", "quantity": 3}
    red_cups = cups | {"options": {"colour": "red"}}
    refused = await patch(cups, {"op": "add", "product_id": "pan", "quantity": 1}, red_cups)
    assert problem(refused) == (409, "short-stock")
    assert refused.json()["errors"][0]["pointer"] == "/operations/2"

    done = await patch(cups, {"op": "clear"}, red_cups, {"op": "add", "product_id": "pan", "quantity": 1})
    assert done.status_code == 200, done.text
    assert [line["unit_price"] for line in done.json()["lines"]] == [1450, 4900]


async def test_setting_a_quantity_accepts_the_price_of_now(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup"))
    await add(shop, cart_id, 2)
    await shop.cached_products.put(product("cup", unit_price=1600))
    assert [line["unit_price"] for line in (await shop.carts.read(cart_id))["lines"]] == [1450]

    put = await shop.http.put(f"/v1/carts/{cart_id}/items/cup", json={"quantity": 2})
    assert [line["unit_price"] for line in put.json()["lines"]] == [1600]
    assert (await shop.carts.read(cart_id))["warnings"] == []

    await shop.cached_products.put(product("cup", unit_price=1700))
    patched = await shop.http.patch(f"/v1/carts/{cart_id}/items/cup", json={"quantity": 1})
    assert [line["unit_price"] for line in patched.json()["lines"]] == [1700]


async def test_a_set_is_stock_checked_and_a_removal_never_refused(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", stock=5))
    await add(shop, cart_id, 5)
    line = f"/v1/carts/{cart_id}/items/cup"
    assert problem(await shop.http.put(line, json={"quantity": 6})) == (409, "short-stock")
    await shop.cached_products.put(product("cup", active=False))
    assert problem(await shop.http.put(line, json={"quantity": 1})) == (409, "product-inactive")
    assert (await shop.http.put(line, json={"quantity": 0})).status_code == 200
    assert await shop.carts.quantities(cart_id) == {}


async def test_setting_a_line_that_is_not_there_says_so(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup"))
    for line_id in ("cup", "nothing"):
        refused = await shop.http.put(f"/v1/carts/{cart_id}/items/{line_id}", json={"quantity": 1})
        assert problem(refused) == (404, "line-not-found")


async def test_a_reader_is_warned_of_what_moved_on_without_a_write(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"), product("pan"), product("pot"))
    starts = await shop.carts.topic.ends()
    for name in ("cup", "pan", "pot"):
        await add(shop, cart_id, 2, product_id=name)
    before = await shop.http.get(f"/v1/carts/{cart_id}")
    assert before.json()["warnings"] == []
    assert before.headers["etag"].startswith(f'"{before.json()["version"]}.')
    await until(shop.carts.outbox_is_empty, "outbox empty")
    published = await shop.carts.operations_since(starts)

    await shop.cached_products.put(
        product("cup", unit_price=1600), product("pan", stock=0), product("pot", active=False)
    )
    after = await shop.http.get(f"/v1/carts/{cart_id}")
    assert after.json()["warnings"] == [
        {"code": "price_changed", "target": "cup"},
        {"code": "out_of_stock", "target": "pan"},
        {"code": "product_inactive", "target": "pot"},
    ]
    assert after.json()["version"] == before.json()["version"]
    assert after.json()["lines"] == before.json()["lines"]
    assert await shop.carts.operations_since(starts) == published


async def test_a_tag_with_a_suffix_tells_one_reading_from_another_and_is_the_version_to_a_writer(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    added = await add(shop, cart_id)
    plain, version = added.headers["etag"], added.json()["version"]
    await shop.cached_products.put(product("cup", unit_price=1600))
    path = f"/v1/carts/{cart_id}"

    warned = await shop.http.get(path, headers={"if-none-match": plain})
    assert warned.status_code == 200
    tag = warned.headers["etag"]
    assert tag.startswith(f'"{version}.')
    assert tag != plain
    assert (await shop.http.get(path, headers={"if-none-match": tag})).status_code == 304

    line = f"{path}/items/cup"
    written = await shop.http.put(line, json={"quantity": 2}, headers={"if-match": tag})
    assert written.status_code == 200, written.text
    late = await shop.http.put(line, json={"quantity": 3}, headers={"if-match": tag})
    assert problem(late) == (412, "precondition-failed")


async def test_lines_have_the_name_and_image_of_their_product_in_reads_and_changes_alike(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", image_url="/cup.png"), product("pan"))
    await add(shop, cart_id, 2)
    changed = await add(shop, cart_id, 3, product_id="pan")
    read = await shop.http.get(f"/v1/carts/{cart_id}")
    shown = [(line["name"], line["image_url"], line["line_total"]) for line in changed.json()["lines"]]
    assert shown == [("Cup", "/cup.png", 2900), ("Pan", None, 4350)]
    assert read.json() == changed.json()
    assert read.headers["etag"] == changed.headers["etag"]


async def test_a_renamed_product_is_another_tag_of_the_same_version(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    tag = (await add(shop, cart_id)).headers["etag"]
    path = f"/v1/carts/{cart_id}"
    assert (await shop.http.get(path, headers={"if-none-match": tag})).status_code == 304

    await shop.cached_products.put(product("cup", name="Mug", stock=4))
    read = await shop.http.get(path, headers={"if-none-match": tag})
    assert (read.status_code, read.json()["lines"][0]["name"]) == (200, "Mug")
    assert read.headers["etag"] != tag
    assert read.headers["etag"].partition(".")[0] == tag.partition(".")[0]

    await shop.cached_products.put(product("cup", name="Mug", stock=3))
    again = await shop.http.get(path, headers={"if-none-match": read.headers["etag"]})
    assert again.status_code == 304


async def test_a_product_that_the_catalogue_has_no_more_leaves_its_line_without_a_name(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    await add(shop, cart_id)
    await shop.cached_products.put_as_sent(ProductDeletion("cup", 2))
    (line,) = (await shop.http.get(f"/v1/carts/{cart_id}")).json()["lines"]
    assert "name" not in line
    assert line["line_total"] == 1450


@pytest.mark.parametrize("change", [{"unit_price": 1600}, {"stock": 0}, {"active": False}])
async def test_a_retry_is_one_whatever_the_catalogue_says_by_then(
    shop: CatalogueClient, cart_id: str, change: dict[str, Any]
) -> None:
    await shop.cached_products.put(product("cup", stock=2))
    key = uuid4().hex
    first = await add(shop, cart_id, 2, key, unit_price=1450)
    assert first.status_code == 200
    await shop.cached_products.put(product("cup", **change))
    again = await add(shop, cart_id, 2, key, unit_price=1450)
    assert again.status_code == 200, again.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert problem(await add(shop, cart_id, 1, key, unit_price=1450)) == (422, "idempotency-key-reused")


async def test_a_key_that_was_never_applied_does_not_help_past_the_catalogue(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", stock=0))
    assert problem(await add(shop, cart_id, 1, uuid4().hex)) == (409, "short-stock")
    assert await shop.carts.quantities(cart_id) == {}


async def test_while_the_catalogue_is_restored_adds_wait_and_reads_say_what_they_do_not_know(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup"))
    await add(shop, cart_id)
    await shop.wipe_catalogue()
    refused = await add(shop, cart_id)
    assert problem(refused) == (503, "catalogue-restoring")
    assert refused.headers["retry-after"] == "1"
    assert (await shop.carts.read(cart_id))["warnings"] == [{"code": "catalogue_unavailable", "target": None}]
    removed = await shop.http.delete(f"/v1/carts/{cart_id}/items/cup")
    assert removed.status_code == 200


async def test_a_wrong_price_is_refused_before_it_is_compared(shop: CatalogueClient, cart_id: str) -> None:
    await shop.cached_products.put(product("cup"))
    assert problem(await add(shop, cart_id, unit_price=-1)) == (422, "invalid-body")


async def test_without_a_catalogue_the_price_is_required(carts: CartClient, cart_id: str) -> None:
    for missing in ("unit_price", "currency"):
        body = item()
        del body[missing]
        reply = await carts.http.post(f"/v1/carts/{cart_id}/items", json=body)
        assert problem(reply) == (422, "invalid-body")
        assert reply.json()["errors"][0]["pointer"] == f"/{missing}"
        several = await carts.http.patch(
            f"/v1/carts/{cart_id}", json={"operations": [{"op": "clear"}, {"op": "add", **body}]}
        )
        assert several.json()["errors"][0]["pointer"] == f"/operations/1/{missing}"
