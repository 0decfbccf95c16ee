"""Why a checkout is refused: one problem each, and the differences of a cart that is outdated. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from carts.availability import warnings
from carts.products import Facts
from carts.state import State, Status
from carts.view import CartView
from gateway.http import problems
from gateway.http.problems import Problem, retry_after


class Difference(msgspec.Struct, frozen=True):
    """Why a line cannot be ordered as it stands: the product's price now, and the pieces that can be had.

    Both are null where there is no such product; `available` is null too where nobody counts.
    """

    line_id: str
    code: str
    unit_price: int | None
    available: int | None


def differences(cart: CartView, known: Mapping[str, Facts | None]) -> list[Difference]:
    """What has moved on since the lines were added; `known` has all their products, None: there is none."""
    product_of = {line.line_id: line.product_id for line in cart.lines}
    found = []
    for warning in warnings(cart.lines, cart.currency, known):
        line_id = warning.target or ""
        facts = known[product_of[line_id]]
        if facts is None:
            found.append(Difference(line_id, warning.code, None, None))
        else:
            available = facts.stock if facts.active else 0
            found.append(Difference(line_id, warning.code, facts.unit_price, available))
    return found


def check_may_order(state: State | None) -> State:
    """The state of a cart that can be ordered; raises the problem of one that cannot."""
    if state is None or state.expired:
        raise cart_empty()
    if state.status is Status.MERGED:
        raise Problem(
            problems.MERGED,
            "The cart has been merged; check out the one named instead.",
            extra={"into": state.merged_into},
        )
    if state.claim is not None:
        raise Problem(
            problems.CLAIMED,
            "The cart is being merged into the one named; wait a moment, then check out that one.",
            headers=retry_after(1),
            extra={"into": state.claim.into},
        )
    return state


def cart_empty() -> Problem:
    """There is nothing to order."""
    return Problem(problems.CART_EMPTY, "The cart holds nothing that could be ordered; add something first.")


def cart_outdated(found: Sequence[Difference], total: int, currency: str | None) -> Problem:
    """The cart is not what can be ordered; `total` is what it would come to at the cart's own prices."""
    detail = (
        "Prices or stock have changed since the lines were added; read `differences`, set each line again "
        "to accept its price, or to a quantity that is available, then check out with the same or a new key."
        if found
        else "The order would not come to `expected_total`, but to `total`; show it, then check out with it."
    )
    extra = {"differences": found, "total": total, "currency": currency}
    return Problem(problems.CART_OUTDATED, detail, extra=extra)


def in_progress(ttl_ms: int) -> Problem:
    """Another checkout of this cart is under way."""
    return Problem(
        problems.CHECKOUT_IN_PROGRESS,
        "Another checkout of this cart is under way, perhaps on another device; read the cart and its orders "
        "after Retry-After.",
        headers=retry_after(min(ttl_ms / 1000, 2)),
    )


def key_reused() -> Problem:
    """The key has placed another order."""
    return Problem(
        problems.KEY_REUSED,
        "This Idempotency-Key has placed an order of this cart that was asked for differently; "
        "use a new key for each order.",
    )


def checkout_not_found() -> Problem:
    """There never was such a checkout of this cart."""
    return Problem(
        problems.CHECKOUT_NOT_FOUND,
        "The cart has no checkout with this token; begin one with POST …/checkout.",
    )


def checkout_closed(status: str, reference: str | None) -> Problem:
    """The checkout has ended otherwise."""
    return Problem(
        problems.CHECKOUT_CLOSED,
        f"The checkout was {status} before, and that is final; begin another one if it is still wanted.",
        extra={"checkout_status": status, "order_id": reference},
    )
