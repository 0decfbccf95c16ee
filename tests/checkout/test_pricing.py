"""What a checkout does while prices are not known: without servers, every store is as the test says."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import pytest

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.products import Facts
from carts.state import State
from carts.view import Adjustment, CartView
from gateway.checkout.external import ExternalCheckouts
from gateway.checkout.internal import InternalCheckouts
from gateway.checkout.requests import PlaceOrder
from gateway.checkout.service import Snapshot
from gateway.http.problems import CART_OUTDATED, CATALOGUE_RESTORING, PRICING_UNAVAILABLE, Problem
from gateway.metrics import Metrics
from gateway.pricing.service import HookAnswer, Pricing
from gateway.settings import GatewaySettings
from store.postgres import checkouts, orders
from store.redis.catalogue import CacheNotReady, ProductCache
from store.redis.results import CheckoutLock

CART_ID = "user:1"
LAMP = Facts(version=1, unit_price=10_000, currency="EUR", stock=5, active=True, name="Lamp")


class Written(Exception):
    """The transaction that writes the order or the checkout has been asked for."""


class Stores:
    """A cart with a lamp; Postgres finds no order and no checkout, and refuses to write one."""

    async def transact(self, work: Callable[[Any], Awaitable[Any]]) -> None:
        """Nothing is found; what else is asked for would write."""
        if getattr(work, "func", None) not in {orders.find_by_key, checkouts.find_open}:
            raise Written

    async def snapshot(self, *_: object) -> Snapshot:
        """The folded cart."""
        lamp = Add("lamp", 1, LAMP.unit_price, "EUR", Item("lamp"))
        change = Change(cart_id=CART_ID, version=2**40, op_id="a", delta=(lamp,), born=2**40)
        return Snapshot(fold(None, change).state or State(), 1)

    async def lock_checkout(self, _: str, key: str, ttl_ms: int) -> CheckoutLock:
        """It is free."""
        return CheckoutLock(key, ttl_ms)

    async def unlock_checkout(self, *_: object) -> None:
        """It was held."""


class Hook:
    """Gives its answer, or none."""

    def __init__(self, answer: HookAnswer | None) -> None:
        self.answer = answer

    async def open(self) -> None:
        """It needs nothing."""

    async def close(self) -> None:
        """It has nothing."""

    async def ask(self, _: CartView) -> HookAnswer | None:
        """The answer."""
        return self.answer


class Cache:
    """A product cache with one lamp; None: it is being filled."""

    def __init__(self, lamp: Facts | None) -> None:
        self.lamp = lamp

    async def facts(self, product_ids: Iterable[str]) -> dict[str, Facts | None] | CacheNotReady:
        """Of each product."""
        return CacheNotReady() if self.lamp is None else dict.fromkeys(product_ids, self.lamp)


def pricing(answer: HookAnswer | None, lamp: Facts | None = LAMP) -> Pricing:
    return Pricing(cast("ProductCache", Cache(lamp)), Hook(answer))


def settings() -> GatewaySettings:
    return GatewaySettings.model_construct(checkout_deadline_s=5.0, checkout_timeout_s=60)


async def place(answer: HookAnswer | None, expected_total: int | None) -> None:
    stores = cast("Any", Stores())
    shop = InternalCheckouts(settings(), stores, stores, pricing(answer), stores, Metrics())
    await shop.place(CART_ID, "key", PlaceOrder(expected_total=expected_total))


async def begin(answer: HookAnswer | None, expected_total: int | None, lamp: Facts | None = LAMP) -> None:
    stores = cast("Any", Stores())
    shop = ExternalCheckouts(settings(), stores, pricing(answer, lamp), stores, Metrics())
    await shop.open(CART_ID, expected_total)


@pytest.mark.parametrize("check_out", [place, begin])
@pytest.mark.parametrize("expected_total", [None, 7_500])
async def test_without_an_answer_of_the_hook_nothing_is_ordered(
    check_out: Callable[[HookAnswer | None, int | None], Awaitable[None]], expected_total: int | None
) -> None:
    with pytest.raises(Problem) as caught:
        await check_out(None, expected_total)
    assert caught.value.kind is PRICING_UNAVAILABLE
    assert caught.value.extra == {"total": 10_000}
    assert caught.value.headers["retry-after"] == "1"


@pytest.mark.parametrize("check_out", [place, begin])
async def test_a_client_may_ask_for_the_very_sum_without_discounts_and_taxes(
    check_out: Callable[[HookAnswer | None, int | None], Awaitable[None]],
) -> None:
    with pytest.raises(Written):
        await check_out(None, 10_000)


async def test_an_answer_without_adjustments_is_one() -> None:
    with pytest.raises(Written):
        await place(HookAnswer(), None)


@pytest.mark.parametrize(
    ("lamp", "code"),
    [
        (Facts(2, 12_000, "EUR", 5, active=True, name="Lamp"), "price_changed"),
        (Facts(2, 10_000, "USD", 5, active=True, name="Lamp"), "currency_changed"),
        (Facts(2, 10_000, "EUR", 0, active=True, name="Lamp"), "out_of_stock"),
    ],
)
async def test_an_external_checkout_opens_at_no_price_of_yesterday(lamp: Facts, code: str) -> None:
    with pytest.raises(Problem) as caught:
        await begin(HookAnswer(), None, lamp)
    assert caught.value.kind is CART_OUTDATED
    (difference,) = caught.value.extra["differences"]
    assert (difference.code, difference.unit_price, difference.currency) == (
        code,
        lamp.unit_price,
        lamp.currency,
    )


async def test_an_external_checkout_waits_for_a_catalogue_to_compare_with() -> None:
    with pytest.raises(Problem) as caught:
        await begin(HookAnswer(), None, None)
    assert caught.value.kind is CATALOGUE_RESTORING


async def test_an_external_checkout_comes_to_the_expected_total_or_is_refused() -> None:
    tax = HookAnswer([Adjustment("tax-vat", 1_900)])
    with pytest.raises(Problem) as caught:
        await begin(tax, 10_000)
    assert (caught.value.kind, caught.value.extra["total"]) == (CART_OUTDATED, 11_900)
    with pytest.raises(Written):
        await begin(tax, 11_900)
