"""A dependency is away: no order, a quick 503, and the same request works once it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from tests.checkout.checkout_client import CheckoutClient
from tests.checkout.conftest import checkout_client_of
from tests.gateway.cart_client import set_ready
from tests.support.memory import bounded
from tests.support.outages import frozen, stopped
from tests.support.processes import INTERNAL, PRICED_BY_CALLER, AgentProcess, GatewayProcess
from tests.support.servers import Urls, prepared_embedded
from tests.support.waiting import until

LARGE_ID = "large"
LARGE = {
    "product_id": LARGE_ID,
    "quantity": 1,
    "unit_price": 1,
    "currency": "EUR",
    "metadata": {"note": "x" * 15_000},
}


@pytest.fixture(scope="module")
def breakable(stack: EmbeddedStack) -> Iterator[Urls]:
    """Embedded servers, whatever else is given."""
    with prepared_embedded(stack) as urls:
        yield urls


@pytest.fixture
async def open_shop(breakable: Urls, tmp_path: Path) -> AsyncIterator[tuple[CheckoutClient, AgentProcess]]:
    """A shop on servers that can be hurt; with its compaction."""
    environment = {**breakable.environment(), "CARTSTREAM_CHECKOUT_DEADLINE_S": "8"}
    sink = AgentProcess(("sinks", "postgres"), breakable.environment(), tmp_path)
    compaction = AgentProcess(("streams", "compaction"), breakable.environment(), tmp_path)
    here = GatewayProcess({**environment, **INTERNAL}, tmp_path / "internal")
    carts = GatewayProcess({**environment, **PRICED_BY_CALLER}, tmp_path / "external")
    async with AsyncExitStack() as stack:
        with ExitStack() as cleanup:
            for agent in (sink, compaction):
                cleanup.callback(agent.kill)
                agent.launch()
            for gateway in (here, carts):
                cleanup.callback(gateway.kill)
                await asyncio.to_thread(gateway.start)
            for agent in (sink, compaction):
                await asyncio.to_thread(agent.wait_ready)
            yield await checkout_client_of(stack, here.url, carts.url, breakable), compaction


async def refusal(shop: CheckoutClient, cart_id: str, key: str = "k") -> tuple[int, str]:
    """Status and problem of a checkout; it says when to try again."""
    reply = await shop.check_out(cart_id, key)
    assert reply.headers.get("retry-after"), reply.text
    return reply.status_code, reply.json()["type"]


@pytest.mark.drill
async def test_without_a_dependency_there_is_no_order_and_later_there_is_one(
    stack: EmbeddedStack, open_shop: tuple[CheckoutClient, AgentProcess]
) -> None:
    shop, compaction = open_shop
    cart, product = shop.cart(), await shop.product("a", 9)
    await shop.add(cart, product, 2)
    await until(lambda: shop.row_has(cart, product), "the row")

    with stopped(stack, POSTGRES):
        assert await refusal(shop, cart) == (503, "/problems/database-unavailable")
    await until(lambda: is_served(shop, cart), "Postgres is there again")
    with frozen(stack, POSTGRES):
        assert await refusal(shop, cart) == (503, "/problems/database-unavailable")
    await until(lambda: is_served(shop, cart), "Postgres is reached again")
    with frozen(stack, REDIS):
        assert await refusal(shop, cart) == (503, "/problems/store-unavailable")
    await until(lambda: is_served(shop, cart), "Redis is reached again")
    assert await shop.stock(product) == 9

    with frozen(stack, KAFKA):
        await shop.add(cart, product, 1)
        assert await refusal(shop, cart) == (503, "/problems/cart-not-delivered")
    assert await shop.stock(product) == 9
    assert await shop.orders(cart) == []

    order = await shop.order(cart)
    assert order["lines"][0]["quantity"] == 3
    assert await shop.stock(product) == 6
    await until(lambda: is_empty(shop, cart), "the ordered lines are gone")

    compaction.kill()
    await shop.add(cart, product, 1)
    assert await refusal(shop, cart, "next") == (503, "/problems/cart-not-delivered")
    assert len(await shop.orders(cart)) == 1
    assert await shop.store.checkout_lock(cart) is None


async def test_with_redis_full_nothing_acknowledged_is_lost_and_carts_are_emptied_and_ordered(
    open_shop: tuple[CheckoutClient, AgentProcess],
) -> None:
    shop, _ = open_shop
    product = await shop.product("a", 9)
    await shop.wipe()
    await set_ready(shop.store)
    ordered, emptied = shop.cart("ordered"), shop.cart("emptied")
    await shop.add(ordered, product, 2)
    await shop.add(emptied, product, 2)
    acknowledged: dict[str, list[str]] = {shop.cart(name): [] for name in range(8)}

    async def fill(cart_id: str) -> None:
        """Add until there is no room."""
        keys = acknowledged[cart_id]
        while True:
            key = f"{cart_id}-{len(keys)}"
            reply = await shop.carts.post(
                f"/v1/carts/{cart_id}/items", json=LARGE, headers={"idempotency-key": key}
            )
            if reply.status_code == 503:
                assert reply.headers["retry-after"]
                if reply.json()["type"] == "/problems/outbox-full":
                    # A partition's share of so little memory is four such adds that wait for Kafka.
                    await asyncio.sleep(0.01)
                    continue
                assert reply.json()["type"] == "/problems/store-full"
                return
            assert reply.status_code == 200, reply.text
            keys.append(key)

    async def is_full() -> bool:
        # What connections have in their buffers counts, too, for a moment.
        await asyncio.gather(*map(fill, acknowledged))
        ready = await shop.carts.get("/health/ready")
        assert ready.status_code == 200
        return bool(ready.json()["status"] == "degraded")

    with bounded(shop.urls.redis, 4_000_000):
        await until(is_full, "the gateway says that Redis is full")
        assert sum(map(len, acknowledged.values())) > 20
        for cart_id, keys in acknowledged.items():
            assert await shop.quantities(cart_id) == ({LARGE_ID: len(keys)} if keys else {})
        assert (await shop.carts.delete(f"/v1/carts/{emptied}")).status_code == 200
        assert await shop.quantities(emptied) == {}
        order = await shop.order(ordered)
        assert order["lines"][0]["quantity"] == 2
        await until(lambda: is_empty(shop, ordered), "the ordered lines are gone")

        async def all_in_rows() -> bool:
            rows = await shop.rows(
                "SELECT cart_id, (lines->0->>'quantity')::int FROM carts WHERE cart_id LIKE %s AND n > 0",
                (shop.cart("%"),),
            )
            found = dict(rows)
            return all(found.get(cart_id) == len(keys) for cart_id, keys in acknowledged.items() if keys)

        await until(all_in_rows, "every acknowledged change is in Postgres, once")
    cart_id, keys = max(acknowledged.items(), key=lambda item: len(item[1]))

    async def grows() -> bool:
        reply = await shop.carts.post(
            f"/v1/carts/{cart_id}/items", json=LARGE, headers={"idempotency-key": f"{cart_id}-{len(keys)}"}
        )
        return bool(reply.status_code == 200)

    await until(grows, "there is room again")
    assert await shop.quantities(cart_id) == {LARGE_ID: len(keys) + 1}


async def is_served(shop: CheckoutClient, cart_id: str) -> bool:
    """Whether both gateways reach Redis and Postgres."""
    for http in (shop.http, shop.carts):
        cart = await http.get(f"/v1/carts/{cart_id}")
        orders = await http.get(f"/v1/carts/{cart_id}/orders")
        if cart.status_code != 200 or "cart-freshness" in cart.headers or orders.status_code != 200:
            return False
    return True


async def is_empty(shop: CheckoutClient, cart_id: str) -> bool:
    return await shop.quantities(cart_id) == {}
