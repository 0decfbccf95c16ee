"""The whole way of a shopper with a catalogue: product, add, changed price, order, cancel."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkout.checkout_client import CheckoutClient
from tests.support.processes import INTERNAL, AgentProcess
from tests.support.servers import Urls
from tests.support.waiting import until


@pytest.fixture(scope="module")
def followed(
    urls: Urls, agents: dict[str, AgentProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    """The process that keeps Redis in step, the product cache above all."""
    assert agents
    environment = {**urls.environment(), **INTERNAL, "CARTSTREAM_GROUP_INSTANCE_ID": "sink-redis-checkout"}
    agent = AgentProcess(("sinks", "redis"), environment, tmp_path_factory.mktemp("redis"))
    agent.launch()
    agent.wait_ready()
    yield agent
    agent.kill()


async def shown(shop: CheckoutClient, product_id: str) -> dict[str, Any]:
    """The product as a shop page shows it."""
    reply = await shop.http.get(f"/v1/products/{product_id}")
    document: dict[str, Any] = reply.json() if reply.status_code == 200 else {}
    return document


async def test_a_shopper_adds_accepts_a_changed_price_orders_and_cancels(
    shop: CheckoutClient, followed: AgentProcess
) -> None:
    assert followed
    cart, product = shop.cart(), f"{shop.mark}-mug"
    mug = {"name": "Mug", "unit_price": 1500, "currency": "EUR", "stock": 3}

    async def put(**changed: object) -> None:
        reply = await shop.http.put(f"/v1/products/{product}", json={**mug, **changed})
        assert reply.status_code in {200, 201}, reply.text

    async def shows(name: str, value: object) -> bool:
        return (await shown(shop, product)).get(name) == value

    await put()
    await until(lambda: shows("stock", 3), "the product is in the cache")
    added = await shop.http.post(f"/v1/carts/{cart}/items", json={"product_id": product, "quantity": 2})
    assert added.status_code == 200, added.text
    assert added.json()["lines"][0]["unit_price"] == 1500

    await put(unit_price=1700)
    await until(lambda: shows("unit_price", 1700), "the new price is in the cache")
    seen = (await shop.http.get(f"/v1/carts/{cart}")).json()
    assert [warning["code"] for warning in seen["warnings"]] == ["price_changed"]
    refused = await shop.check_out(cart)
    assert refused.status_code == 409, refused.text
    assert refused.json()["differences"] == [
        {
            "line_id": product,
            "code": "price_changed",
            "unit_price": 1700,
            "available": 3,
            "currency": "EUR",
        }
    ]
    accepted = await shop.http.patch(f"/v1/carts/{cart}/items/{product}", json={"quantity": 2})
    assert accepted.json()["lines"][0]["unit_price"] == 1700

    order = await shop.order(cart, expected_total=3400)

    assert order["totals"]["total"] == 3400
    await until(lambda: shows("stock", 1), "the sold pieces are gone from the shop page")
    short = await shop.http.post(f"/v1/carts/{cart}/items", json={"product_id": product, "quantity": 2})
    assert (short.status_code, short.json()["available"]) == (409, 1)
    await shop.http.post(f"/v1/orders/{order['order_id']}/cancel")
    await until(lambda: shows("stock", 3), "the pieces are back")
    assert await shop.quantities(cart) == {}


async def test_a_cart_that_was_restored_while_a_checkout_was_under_way_has_no_ordered_line(
    shop: CheckoutClient, followed: AgentProcess
) -> None:
    assert followed
    cart, product = shop.cart(), await shop.product("a", 100)
    await shop.add(cart, product, 3)
    ordering = asyncio.create_task(shop.order(cart, "k"))
    await shop.wipe()
    order = await ordering
    await until(lambda: shop.can_add(cart, "tea"), "the partition is restored")
    await shop.until_settled()

    async def only_tea() -> bool:
        return set(await shop.quantities(cart)) == {"tea"}

    await until(only_tea, "what was ordered has left the cart")
    assert [line["quantity"] for line in order["lines"]] == [3]
    assert await shop.stock(product) == 97
