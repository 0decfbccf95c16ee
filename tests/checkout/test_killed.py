"""Checkouts that die after any step: nothing is sold twice, nothing vanishes, every order leaves its cart."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.bootstrap import Container
from gateway.checkout.internal import InternalCheckouts
from gateway.checkout.requests import PlaceOrder
from gateway.http import problems
from gateway.http.problems import Problem
from gateway.settings import GatewaySettings
from runtime.owners import OrdersOwner, ProductsOwner
from store.redis import CartStore
from tests.checkout.checkout_client import CheckoutClient
from tests.checkout.kill_points import STEPS, install
from tests.support.http import http_client
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Urls

NO_ORDER = {problems.CART_OUTDATED, problems.CART_EMPTY, problems.CHECKOUT_IN_PROGRESS}
SEEDS = int(os.environ.get("CARTSTREAM_TEST_SEEDS", "2"))
"""Of the gateway that is killed again and again."""
BUYERS = 8
STOCK = 5


class Killed(Exception):
    """The process is dead: nothing of what it had in hand goes on."""


class Attempt:
    """One try of a checkout, in a process that may die after any of its steps."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.died_after: str | None = None

    def after(self, step: str) -> None:
        """Live on, or not."""
        if self._chance.random() < 0.12:
            self.died_after = step
            raise Killed(step)


CURRENT: ContextVar[Attempt] = ContextVar("attempt")


@pytest.fixture
async def checkouts(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InternalCheckouts]:
    """A gateway's checkouts; an Attempt in the context decides when they die."""
    settings = GatewaySettings(
        kafka_bootstrap=urls.kafka_bootstrap,
        redis_url=urls.redis,
        postgres_url=urls.postgres,
        products_owner=ProductsOwner.INTERNAL,
        orders_owner=OrdersOwner.INTERNAL,
    )
    container = Container.build(settings)
    unlock = CartStore.unlock_checkout

    async def unlock_unless_dead(store: CartStore, cart_id: str, token: str) -> bool:
        return CURRENT.get().died_after is None and await unlock(store, cart_id, token)

    install(lambda step: CURRENT.get().after(step), monkeypatch.setattr)
    monkeypatch.setattr(CartStore, "unlock_checkout", unlock_unless_dead)
    await container.client.connect()
    await container.hydration.open()
    await container.database.open()
    container.publisher.start()
    await container.publisher.until_connected(10)
    assert isinstance(container.checkouts, InternalCheckouts)
    yield container.checkouts
    await container.publisher.stop()
    await container.trimmer.flush()
    await container.hydration.close()
    await container.database.close()
    await container.client.close()


class Buyer:
    """Tries until there is an order or a reason why not; may walk away from a shop that has died."""

    def __init__(self, checkouts: InternalCheckouts, cart_id: str, key: str, chance: random.Random) -> None:
        self._checkouts = checkouts
        self._cart_id = cart_id
        self._key = key
        self._chance = chance
        self.deaths: list[str] = []
        self.order_id: str | None = None

    async def buy(self) -> None:
        """See the class."""
        while True:
            attempt = Attempt(self._chance)
            CURRENT.set(attempt)
            try:
                order, _ = await self._checkouts.place(self._cart_id, self._key, PlaceOrder())
            except Killed:
                assert attempt.died_after is not None
                self.deaths.append(attempt.died_after)
                if self._chance.random() < 0.25:
                    return
            except Problem as problem:
                if problem.kind in NO_ORDER:
                    return
                if problem.kind.status != 503:
                    raise
            else:
                self.order_id = order.order_id
                return


@pytest.mark.drill
@pytest.mark.parametrize("seeds", [range(first, first + 6) for first in range(0, 24, 6)], ids=str)
async def test_sold_and_left_are_what_was_there_whatever_step_a_checkout_dies_after(
    shop: CheckoutClient, checkouts: InternalCheckouts, seeds: range
) -> None:
    added: dict[str, dict[str, int]] = {}
    stocks: list[tuple[str, str]] = []
    deaths: list[str] = []
    for seed in seeds:
        chance = random.Random(seed)
        rare, common = await shop.product(f"rare-{seed}", STOCK), await shop.product(f"common-{seed}", 1000)
        stocks.append((rare, common))
        carts = [shop.cart(f"{seed}-{number}") for number in range(BUYERS)]
        for cart in carts:
            added[cart] = {rare: 1, common: 2}
        await asyncio.gather(
            *(shop.add(cart, product, n) for cart in carts for product, n in added[cart].items())
        )
        buyers = [Buyer(checkouts, cart, f"k-{seed}", chance) for cart in carts]
        # A second device, on some.
        buyers += [Buyer(checkouts, cart, f"other-{seed}", chance) for cart in carts[::3]]

        async def add_meanwhile(cart: str, product: str) -> None:
            await shop.add(cart, product)
            added[cart][product] += 1

        await asyncio.gather(
            *(buyer.buy() for buyer in buyers), *(add_meanwhile(cart, common) for cart in carts[::2])
        )
        for buyer in buyers:
            deaths += buyer.deaths
    await shop.until_settled()

    orders = {cart: await shop.orders(cart) for cart in added}
    for rare, common in stocks:
        for product, start in ((rare, STOCK), (common, 1000)):
            sold = sum(ordered_quantity(order, product) for placed in orders.values() for order in placed)
            assert sold + (await shop.stock(product) or 0) == start
    for cart, products in added.items():
        left = await shop.quantities(cart)
        for product, quantity in products.items():
            ordered = sum(ordered_quantity(order, product) for order in orders[cart])
            assert ordered + left.get(product, 0) == quantity, (cart, product)
        assert len({order["seq"] for order in orders[cart]}) == len(orders[cart])
    assert deaths


def ordered_quantity(order: dict[str, Any], product_id: str) -> int:
    """The quantity of a product that was ordered."""
    return sum(line["quantity"] for line in order["lines"] if line["product_id"] == product_id)


@pytest.fixture
def dying(urls: Urls, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway's process that kills itself, not started yet."""
    environment = {**urls.environment(), **INTERNAL, "CARTSTREAM_CHECKOUT_DEADLINE_S": "45"}
    process = GatewayProcess(environment, tmp_path, "tests.checkout.dying_gateway")
    yield process
    process.kill()


@pytest.mark.parametrize("step", STEPS)
async def test_a_gateway_killed_after_a_step_leaves_an_order_that_is_whole_or_none(
    shop: CheckoutClient, dying: GatewayProcess, step: str
) -> None:
    cart, product = shop.cart(step), await shop.product(step, 9)
    await shop.add(cart, product, 2)
    await asyncio.to_thread(dying.start, CARTSTREAM_TEST_DIE_AFTER=step)
    async with http_client(dying.url) as http:
        with pytest.raises(httpx.HTTPError):
            await http.post(f"/v1/carts/{cart}/checkout", headers={"idempotency-key": "k"})
    assert await asyncio.to_thread(dying.wait) == -9
    placed = step in STEPS[STEPS.index("placed") :]
    assert len(await shop.orders(cart)) == placed
    assert await shop.stock(product) == (7 if placed else 9)

    if placed:
        await shop.until_settled()
        assert await shop.quantities(cart) == {}
    await shop.add(cart, product)
    order = await shop.order(cart, "k")

    assert ordered_quantity(order, product) == (2 if placed else 3)
    await shop.until_settled()
    assert await shop.quantities(cart) == ({product: 1} if placed else {})
    assert len(await shop.orders(cart)) == 1
    assert await shop.stock(product) == (7 if placed else 6)


@pytest.mark.drill
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_gateway_killed_again_and_again_sells_what_there_is(
    shop: CheckoutClient, dying: GatewayProcess, seed: int
) -> None:
    product = await shop.product("rare", STOCK)
    carts = [shop.cart(number) for number in range(3 * STOCK)]
    await asyncio.gather(*(shop.add(cart, product) for cart in carts))
    running, over = asyncio.Event(), asyncio.Event()

    async def keep_alive() -> None:
        life = 0
        while not over.is_set():
            # The last ones live until all have bought.
            die_after = f"{seed}-{life}:{0.08 if life < 4 else 0}"
            # It is not waited for until it serves: it may be dead by the next look at it.
            await asyncio.to_thread(dying.launch, CARTSTREAM_TEST_DIE_AFTER=die_after)
            running.set()
            assert await asyncio.to_thread(dying.wait, None) == -9, dying.tail
            life += 1

    async def buy(http: httpx.AsyncClient, cart: str) -> int:
        await running.wait()
        while True:
            try:
                reply = await http.post(f"/v1/carts/{cart}/checkout", headers={"idempotency-key": "k"})
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if reply.status_code != 503:
                return reply.status_code

    keeping = asyncio.create_task(keep_alive())
    async with http_client(dying.url) as http:
        statuses = await asyncio.gather(*(buy(http, cart) for cart in carts))
    over.set()
    dying.kill()
    await keeping

    assert sorted(statuses) == [201] * STOCK + [409] * (2 * STOCK)
    assert await shop.stock(product) == 0
    await shop.until_settled()
    for cart, status in zip(carts, statuses, strict=True):
        assert await shop.quantities(cart) == ({} if status == 201 else {product: 1})
