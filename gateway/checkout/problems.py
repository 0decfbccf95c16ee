"""Why a checkout is refused: one problem each, and the differences of a cart that is outdated."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.http.problems import (
    CART_EMPTY,
    CART_NOT_DELIVERED,
    CART_OUTDATED,
    CHECKOUT_CLOSED,
    CHECKOUT_IN_PROGRESS,
    CHECKOUT_NOT_FOUND,
    CLAIMED,
    DATABASE_UNAVAILABLE,
    KEY_MISSING,
    KEY_REUSED,
    MERGED,
    PRECONDITION_FAILED,
    PRICING_UNAVAILABLE,
    Problem,
    retry_after,
)

POSSIBLE_RACE: Final = {CART_EMPTY, CART_OUTDATED, PRECONDITION_FAILED, PRICING_UNAVAILABLE}
"""What a request is told when a concurrent one with the same key has ordered the cart, or the last stock."""


class Difference(msgspec.Struct, frozen=True):
    """Why a line cannot be ordered: the product's price now, and the quantity that is available.

    All are null when the product does not exist. `available` is also null when its stock is not counted.
    """

    line_id: str
    code: str
    unit_price: int | None
    available: int | None
    currency: str | None = None


def key_missing() -> Problem:
    """An order needs an Idempotency-Key."""
    return Problem(
        KEY_MISSING,
        "An order is placed at most once for each Idempotency-Key; send one (a UUIDv7 is best), "
        "and the same one when you try again.",
    )


def key_reused() -> Problem:
    """The key has placed another order."""
    return Problem(
        KEY_REUSED,
        "This Idempotency-Key has placed an order of this cart with another request body; "
        "use a new key for each order.",
    )


def cart_empty() -> Problem:
    """There is nothing to order."""
    return Problem(CART_EMPTY, "The cart has nothing to order; add something first.")


def cart_merged(into: str | None) -> Problem:
    """The cart has become part of another one."""
    return Problem(
        MERGED, "The cart has been merged; check out the cart named in `into`.", extra={"into": into}
    )


def cart_claimed(into: str) -> Problem:
    """The cart is becoming part of another one."""
    return Problem(
        CLAIMED,
        "The cart is being merged into the one named in `into`; wait a moment, then check out that one.",
        headers=retry_after(1),
        extra={"into": into},
    )


def cart_outdated(found: Sequence[Difference], total: int, currency: str | None) -> Problem:
    """The cart cannot be ordered as it is; `total` (minor units) is what it costs at its own prices."""
    detail = (
        "Prices or stock have changed since the lines were added; read `differences`, set each line again "
        "to accept its price, or to a quantity that is available, then check out with the same or a new key. "
        "Remove a line with the code currency_changed: a cart has one currency."
        if found
        else "The order would cost `total`, not `expected_total`; show it, then check out with it."
    )
    extra = {"differences": found, "total": total, "currency": currency}
    return Problem(CART_OUTDATED, detail, extra=extra)


def pricing_unavailable(total: int) -> Problem:
    """The pricing hook did not answer; `total` (minor units) is what the cart costs at its own prices."""
    return Problem(
        PRICING_UNAVAILABLE,
        "The service that knows discounts and taxes did not answer; nothing was ordered. Send the request "
        "again after Retry-After, with the same Idempotency-Key. To order without discounts and taxes, "
        "send `total` as `expected_total`.",
        headers=retry_after(1),
        extra={"total": total},
    )


def cart_changed(version: str) -> Problem:
    """The cart is not at a version that the caller wants to order."""
    return Problem(
        PRECONDITION_FAILED,
        "The cart is not at a version that If-Match or If-None-Match allows; "
        "read it, decide again, and check out with its ETag.",
        headers={"etag": f'"{version}"'},
        extra={"current": version},
    )


def in_progress(ttl_ms: int) -> Problem:
    """Another checkout of this cart is under way."""
    return Problem(
        CHECKOUT_IN_PROGRESS,
        "Another checkout of this cart is under way, perhaps on another device; read the cart and its orders "
        "after Retry-After.",
        headers=retry_after(min(ttl_ms / 1000, 2)),
    )


def not_delivered(reason: str) -> Problem:
    """The cart's row does not have yet what Redis has: nothing was ordered."""
    return Problem(
        CART_NOT_DELIVERED,
        f"The cart's last changes have not arrived in the database: {reason}. Nothing was ordered; "
        "send the request again, with the same Idempotency-Key.",
        headers=retry_after(1),
    )


def database_unavailable() -> Problem:
    """The cart's row cannot be read: nothing was ordered."""
    return Problem(
        DATABASE_UNAVAILABLE,
        "The database did not answer; nothing was done. Send the request again, with the same "
        "Idempotency-Key.",
        headers=retry_after(1),
    )


def checkout_not_found() -> Problem:
    """This cart has never had such a checkout."""
    return Problem(
        CHECKOUT_NOT_FOUND,
        "The cart has no checkout with this token; begin one with POST …/checkout.",
    )


def checkout_closed(status: str, reference: str | None) -> Problem:
    """The checkout has ended another way."""
    return Problem(
        CHECKOUT_CLOSED,
        f"The checkout was {status} before, and that is final; begin another one if it is still needed.",
        extra={"checkout_status": status, "order_id": reference},
    )
