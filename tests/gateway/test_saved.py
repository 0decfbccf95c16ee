"""Lines saved for later over HTTP: a list beside the cart, changed together with its lines."""

from typing import Any

import httpx
import pytest

from tests.gateway.cart_client import CartClient, item
from tests.gateway.product_fixtures import CatalogueClient, product


async def patch(carts: CartClient, cart_id: str, *operations: dict[str, Any]) -> httpx.Response:
    return await carts.http.patch(f"/v1/carts/{cart_id}", json={"operations": operations})


def saved(reply: httpx.Response) -> list[tuple[str, int]]:
    assert reply.status_code == 200, reply.text
    return [(line["line_id"], line["quantity"]) for line in reply.json()["saved"]]


async def test_a_line_moves_to_the_list_and_back_in_one_change_each(carts: CartClient, cart_id: str) -> None:
    await carts.add(cart_id, "mug", 2)
    there = await patch(
        carts,
        cart_id,
        {"op": "save", "product_id": "mug", "quantity": 2, "metadata": {"gift": True}},
        {"op": "remove", "line_id": "mug"},
    )
    assert saved(there) == [("mug", 2)]
    assert (there.json()["lines"], there.json()["totals"]["total"]) == ([], 0)
    assert there.json()["saved"][0]["metadata"] == {"gift": True}
    read = await carts.http.get(f"/v1/carts/{cart_id}")
    assert (read.content, read.headers["etag"]) == (there.content, there.headers["etag"])

    back = await patch(
        carts,
        cart_id,
        {"op": "add", **item("mug", 2)},
        {"op": "save", "product_id": "mug", "quantity": 0},
    )
    assert saved(back) == []
    assert await carts.quantities(cart_id) == {"mug": 2}


async def test_options_are_lines_of_their_own_and_a_clear_keeps_the_list(
    carts: CartClient, cart_id: str
) -> None:
    reply = await patch(
        carts,
        cart_id,
        {"op": "save", "product_id": "shirt", "quantity": 1, "options": {"size": "M"}},
        {"op": "save", "product_id": "shirt", "quantity": 1, "options": {"size": "S"}},
        {"op": "save", "product_id": "pen", "quantity": 1},
        {"op": "save", "product_id": "pen", "quantity": 3},
        {"op": "clear"},
    )
    assert len(saved(reply)) == 3
    assert saved(reply)[0] == ("pen", 3)
    assert {line["options"].get("size") for line in reply.json()["saved"]} == {"M", "S", None}
    cleared = await carts.http.delete(f"/v1/carts/{cart_id}")
    assert saved(cleared) == saved(reply)


async def test_the_list_has_a_bound_and_the_refusal_its_place(carts: CartClient, cart_id: str) -> None:
    full = [{"op": "save", "product_id": f"sku-{number}", "quantity": 1} for number in range(50)]
    assert len(saved(await patch(carts, cart_id, *full))) == 50
    refused = await patch(
        carts, cart_id, {"op": "clear"}, {"op": "save", "product_id": "sku-50", "quantity": 1}
    )
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/limit-exceeded")
    assert (refused.json()["limit"], refused.json()["errors"][0]["pointer"]) == (
        "saved_lines",
        "/operations/1",
    )
    replaced = await patch(carts, cart_id, {"op": "save", "product_id": "sku-7", "quantity": 9})
    assert ("sku-7", 9) in saved(replaced)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"product_id": "a~b", "quantity": 1}, "/operations/0/product_id"),
        ({"product_id": "a", "quantity": 1000}, "/operations/0/quantity"),
        ({"product_id": "a", "quantity": 1, "options": {"size": 4}}, "/operations/0/options/size"),
        ({"product_id": "a"}, "/operations/0/quantity"),
    ],
)
async def test_what_cannot_be_saved_is_refused_with_its_place(
    carts: CartClient, cart_id: str, fields: dict[str, Any], pointer: str
) -> None:
    reply = await patch(carts, cart_id, {"op": "save", **fields})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_saved_lines_have_the_name_of_their_product_and_are_not_checked(
    shop: CatalogueClient, cart_id: str
) -> None:
    await shop.cached_products.put(product("cup", stock=0, image_url="/cup.png"))
    reply = await patch(
        shop.carts,
        cart_id,
        {"op": "save", "product_id": "cup", "quantity": 2},
        {"op": "save", "product_id": "gone", "quantity": 1},
    )
    assert saved(reply) == [("cup", 2), ("gone", 1)]
    cup, gone = reply.json()["saved"]
    assert (cup["name"], cup["image_url"], "name" in gone) == ("Cup", "/cup.png", False)
    read = await shop.http.get(f"/v1/carts/{cart_id}")
    assert (read.json(), read.headers["etag"]) == (reply.json(), reply.headers["etag"])
    assert read.json()["warnings"] == []
