"""How much a cart's window takes: a full cart twice, orders make room, and what never fits is told so."""

import time

import msgspec
import pytest

from carts import ordering
from carts.fold import fold
from carts.limits import LIMITS, Limits
from carts.operations import Add, Change, Clear, Item
from carts.state import State
from store.redis import Applied, ChangeOutcome, ChangeRequest, Reason, Refused, RequestStep
from tests.store.redis.conftest import ABSENCE, StoreFixture

CART = "user:full"
ONE = Add("sock", 1, 100, "EUR", Item("sock"))


class Shopper:
    """Changes a cart, and folds what was changed as compaction does."""

    def __init__(self, fixture: StoreFixture, limits: Limits = LIMITS) -> None:
        self.store = fixture.store_with(limits)
        self.folded: State | None = None
        self.made = 0

    async def change(self, *steps: RequestStep) -> ChangeOutcome:
        """One change, with a key of its own."""
        self.made += 1
        outcome = await self.store.change(
            ChangeRequest(
                cart_id=CART,
                op_id=f"key-{self.made}",
                fingerprint="f",
                steps=steps,
                first_seen_us=time.time_ns() // 1000,
                absence=ABSENCE,
            )
        )
        if isinstance(outcome, Applied):
            change = msgspec.json.decode(outcome.entry.event, type=Change)
            self.folded = fold(self.folded, change).state
        return outcome

    async def order(self) -> None:
        """Order everything that the cart shows."""
        assert self.folded is not None
        order_id = f"o_{self.made:032x}"
        delta = ordering.subtraction(order_id, ordering.lines_to_order(self.folded), self.folded)
        outcome = await self.store.subtract(CART, order_id, delta, self.folded)
        assert isinstance(outcome, Applied), outcome
        self.folded = fold(self.folded, msgspec.json.decode(outcome.entry.event, type=Change)).state

    async def fills_the_cart(self) -> None:
        """500 lines with metadata, in five changes: nearly all that a cart may hold."""
        about = {"note": "x" * 390}
        for start in range(0, 500, 100):
            names = [f"product-{number:03}" for number in range(start, start + 100)]
            steps = [Add(name, 1, 1999, "EUR", Item(name), about) for name in names]
            outcome = await self.change(*steps)
            assert isinstance(outcome, Applied), outcome


async def test_a_full_cart_fits_twice(fixture: StoreFixture) -> None:
    shopper = Shopper(fixture)
    await shopper.fills_the_cart()
    assert shopper.folded is not None
    assert len(shopper.folded.content().lines) == LIMITS.lines
    assert isinstance(await shopper.change(Clear()), Applied)
    await shopper.fills_the_cart()
    assert isinstance(await shopper.change(Clear()), Applied)


async def test_a_full_cart_that_is_ordered_makes_room_for_others(fixture: StoreFixture) -> None:
    shopper = Shopper(fixture)
    for _ in range(3):
        await shopper.fills_the_cart()
        await shopper.order()
    assert isinstance(await shopper.change(ONE), Applied)


@pytest.mark.parametrize("small", [{"window_entries": 4}, {"window_bytes": 700}])
async def test_the_window_is_bounded_since_the_newest_order(
    fixture: StoreFixture, small: dict[str, int]
) -> None:
    shopper = Shopper(fixture, Limits(**small))

    async def changes_until_full() -> int:
        for number in range(100):
            outcome = await shopper.change(ONE)
            if isinstance(outcome, Refused):
                assert outcome.reason is Reason.WINDOW_FULL
                assert outcome.retry_after_us
                return number
        raise AssertionError("never full")

    first = await changes_until_full()
    assert first >= 3
    for _ in range(3):
        await shopper.order()
        assert await changes_until_full() == first


async def test_the_window_is_bounded_in_all(fixture: StoreFixture) -> None:
    shopper = Shopper(fixture, Limits(window_entries=4, ordered_entries=6))
    taken = 0
    for _ in range(5):
        for _ in range(4):
            taken += isinstance(await shopper.change(ONE), Applied)
        if taken < 9:
            await shopper.order()
    assert taken == 8  # and two orders


async def test_a_till_may_scan_a_piece_a_second_for_minutes(fixture: StoreFixture) -> None:
    shopper = Shopper(fixture)
    for _ in range(600):
        assert isinstance(await shopper.change(ONE), Applied)


async def test_what_never_fits_is_told_so(fixture: StoreFixture) -> None:
    shopper = Shopper(fixture, Limits(window_bytes=500))
    assert isinstance(await shopper.change(ONE), Applied)
    outcome = await shopper.change(*[ONE] * 10)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.limit, outcome.bound) == (Reason.LIMIT, "window_bytes", 500)
