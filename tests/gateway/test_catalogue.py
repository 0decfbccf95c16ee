"""The catalogue as a shop page reads it."""

from uuid import uuid4

import pytest

from tests.gateway.cart_client import CartClient
from tests.gateway.product_fixtures import CatalogueClient, product


async def test_a_product_is_read_with_its_version_as_tag_and_may_be_cached(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"))
    reply = await shop.http.get("/v1/products/cup")
    assert reply.status_code == 200
    assert (reply.json()["name"], reply.json()["unit_price"], reply.json()["stock"]) == ("Cup", 1450, 5)
    assert reply.headers["etag"] == '"1"'
    assert reply.headers["cache-control"] == "public, max-age=5"


async def test_a_caller_that_has_the_newest_product_gets_304(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"))
    tag = (await shop.http.get("/v1/products/cup")).headers["etag"]
    again = await shop.http.get("/v1/products/cup", headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["cache-control"] == "public, max-age=5"

    await shop.cached_products.put(product("cup", unit_price=1500))
    newer = await shop.http.get("/v1/products/cup", headers={"if-none-match": tag})
    assert (newer.status_code, newer.json()["unit_price"]) == (200, 1500)


async def test_pages_lead_through_all_active_products(shop: CatalogueClient) -> None:
    names = [f"sku-{number:02}" for number in range(7)]
    await shop.cached_products.put(*(product(name) for name in names), product("sku-03-old", active=False))
    seen, cursor = [], ""
    while True:
        reply = await shop.http.get("/v1/products", params={"limit": 3, "cursor": cursor})
        assert reply.status_code == 200, reply.text
        seen += [one["product_id"] for one in reply.json()["products"]]
        cursor = reply.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == names


async def test_a_list_that_has_not_changed_is_304_and_one_that_has_is_not(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"), product("pan"))
    tag = (await shop.http.get("/v1/products")).headers["etag"]
    unchanged = await shop.http.get("/v1/products", headers={"if-none-match": tag})
    assert unchanged.status_code == 304
    await shop.cached_products.put(product("pan", stock=4))
    assert (await shop.http.get("/v1/products", headers={"if-none-match": tag})).status_code == 200


async def test_products_are_found_by_words_and_by_category(shop: CatalogueClient) -> None:
    await shop.cached_products.put(
        product("cup", name="Espresso cup"), product("pan", name="Iron pan"), product("tee", category="tea")
    )

    async def found(**parameters: str) -> list[str]:
        reply = await shop.http.get("/v1/products", params=parameters)
        return [one["product_id"] for one in reply.json()["products"]]

    assert await found(q="espr") == ["cup"]
    assert await found(category="tea") == ["tee"]
    assert await found(category="kitchen", q="iron pan") == ["pan"]
    assert await found(q="nothing") == []


async def test_several_products_are_read_by_their_ids_in_the_order_asked_for(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"), product("pan"), product("pot", active=False))
    reply = await shop.http.get("/v1/products?ids=pan,nothing,cup,pan")
    assert (reply.status_code, reply.json()["next_cursor"]) == (200, None)
    assert [one["product_id"] for one in reply.json()["products"]] == ["pan", "cup"]
    assert reply.headers["cache-control"] == "public, max-age=5"
    unchanged = await shop.http.get(
        "/v1/products?ids=pan,nothing,cup,pan", headers={"if-none-match": reply.headers["etag"]}
    )
    assert unchanged.status_code == 304


async def test_inactive_products_among_those_named_are_for_services_and_not_cached(
    shop: CatalogueClient,
) -> None:
    await shop.cached_products.put(product("cup"), product("pot", active=False))
    reply = await shop.http.get("/v1/products?ids=pot,cup")  # development mode: every caller is trusted
    assert [one["product_id"] for one in reply.json()["products"]] == ["pot", "cup"]
    assert reply.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("ids=", "ids"),
        ("ids=a%0Ab", "ids"),
        ("ids=cup&limit=3", "ids"),
        ("ids=" + ",".join(f"sku-{number}" for number in range(101)), "101"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=101", "limit"),
        ("limit=000000001" + "9" * 5000, "limit"),
        ("cursor=%00", "cursor"),
        ("page=2", "page"),
    ],
)
async def test_a_wrong_parameter_is_named(shop: CatalogueClient, query: str, word: str) -> None:
    await shop.cached_products.put(product("cup"))
    reply = await shop.http.get(f"/v1/products?{query}")
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-parameter")
    assert word in reply.json()["detail"]


async def test_an_unknown_product_is_404_and_an_impossible_id_400(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"))
    unknown = await shop.http.get("/v1/products/nothing")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/product-not-found")
    impossible = await shop.http.get("/v1/products/a%0Ab")
    assert (impossible.status_code, impossible.json()["type"]) == (400, "/problems/invalid-identifier")


async def test_while_the_catalogue_is_restored_reads_are_asked_to_come_again(shop: CatalogueClient) -> None:
    for path in ("/v1/products", "/v1/products/cup", "/v1/products?ids=cup"):
        reply = await shop.http.get(path)
        assert (reply.status_code, reply.json()["type"]) == (503, "/problems/catalogue-restoring")
        assert reply.headers["retry-after"] == "1"


async def test_without_a_catalogue_each_route_names_the_setting(carts: CartClient) -> None:
    for method, path in (
        ("GET", "/v1/products"),
        ("GET", f"/v1/products/{uuid4().hex}"),
        ("PUT", "/v1/products/cup"),
        ("PATCH", "/v1/products/cup"),
        ("POST", "/v1/products/import"),
    ):
        reply = await carts.http.request(method, path)
        assert (reply.status_code, reply.json()["type"]) == (404, "/problems/no-catalogue")
        assert "CARTSTREAM_PRODUCTS_OWNER" in reply.json()["detail"]
