"""Merges where there is a catalogue: prices of now, no more than there is, and what is not sold stays."""

import pytest

from tests.merges.conftest import QUICK
from tests.merges.merge_client import MergeClient
from tests.support.processes import INTERNAL
from tests.support.servers import Urls
from tests.support.waiting import until


@pytest.fixture(scope="module")
def environment(urls: Urls) -> dict[str, str]:
    """Of every process: products and orders are kept here."""
    return {**urls.environment(), **INTERNAL, **QUICK}


async def sell(
    client: MergeClient, product_id: str, price: int, stock: int | None = None, *, active: bool = True
) -> None:
    """Have a product like this in the catalogue, and wait until requests see it."""
    product = {
        "name": product_id,
        "unit_price": price,
        "currency": "EUR",
        "stock": stock,
        "active": active,
    }

    async def written() -> bool:
        reply = await client.http.put(f"/v1/products/{product_id}", json=product)
        return reply.status_code in {200, 201}

    async def shown() -> bool:
        found = await client.http.get(f"/v1/products/{product_id}")
        return found.status_code == 200 and product.items() <= found.json().items()

    await until(written, f"{product_id} written")
    await until(shown, f"{product_id} in the catalogue")


async def add(client: MergeClient, cart_id: str, product_id: str, quantity: int) -> None:
    """Add at the catalogue's price."""

    async def added() -> bool:
        reply = await client.http.post(
            f"/v1/carts/{cart_id}/items",
            json={"product_id": product_id, "quantity": quantity},
            headers={"idempotency-key": f"{cart_id}-{product_id}-{quantity}"},
        )
        if reply.status_code == 503:
            return False
        assert reply.status_code == 200, reply.text
        return True

    await until(added, f"{product_id} added")


async def test_prices_stock_and_what_is_not_sold(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    mug, rare, old = (f"{client.mark}-{name}" for name in ("mug", "rare", "old"))
    await sell(client, mug, 1000)
    await sell(client, rare, 500, 5)
    await sell(client, old, 100)
    await add(client, user, rare, 2)
    for product_id, quantity in ((mug, 2), (rare, 4), (old, 1)):
        await add(client, guest, product_id, quantity)
    await sell(client, mug, 1200)
    await sell(client, old, 100, active=False)
    merge = await client.merge(user, guest)
    assert merge["warnings"] == [{"code": "short_stock", "line_id": rare, "quantity": 1}]
    assert merge["left"] == [{"code": "product_inactive", "line_id": old, "quantity": 1}]
    assert await client.quantities(user) == {mug: 2, rare: 5}
    prices = {line["line_id"]: line["unit_price"] for line in (await client.read(user))["lines"]}
    assert prices == {mug: 1200, rare: 500}
    assert await client.quantities(guest) == {old: 1}
    await client.until_settled()


async def test_what_a_merge_brought_can_be_ordered(client: MergeClient) -> None:
    user, guest = client.user(), client.guest()
    mug = f"{client.mark}-mug"
    await sell(client, mug, 1000, 10)
    await add(client, guest, mug, 3)
    await client.merge(user, guest)
    ordered = await client.http.post(f"/v1/carts/{user}/checkout", headers={"idempotency-key": "k"})
    assert ordered.status_code == 201, ordered.text
    assert [(line["line_id"], line["quantity"]) for line in ordered.json()["lines"]] == [(mug, 3)]
    refused = await client.http.post(f"/v1/carts/{guest}/checkout", headers={"idempotency-key": "k"})
    assert (refused.status_code, refused.json()["into"]) == (409, user)
    await client.until_settled()
    assert await client.quantities(user) == {}
