"""What a batch of `cart-changed` records means for the history. Pure."""

from collections.abc import Iterable

import msgspec

from carts.operations import Change, Erase, Trim
from topics.codec import decode_change
from topics.errors import RecordError, RecordErrorCode


class Batch(msgspec.Struct, frozen=True):
    """What one transaction does: erase first, up to a version each, then write.

    `changes` are sorted by cart, so that two sinks never wait for each other in a circle; those of a cart
    keep their order.
    """

    erased: list[tuple[str, int]]
    changes: list[Change]


def change_of(key: bytes | None, value: bytes | None) -> Change:
    """The change in a record. Raises RecordError for one that is unreadable or of another cart."""
    change = decode_change(value)
    if change.cart_id.encode() != key:
        raise RecordError(RecordErrorCode.BAD_CART_ID, f"key {key!r}, cart {change.cart_id!r}")
    return change


def batch_of(changes: Iterable[Change]) -> Batch:
    """Sort changes into a batch; of each cart's erasures the last one counts.

    Trims are left out: the cart is the same before and after.
    """
    told = (change for change in changes if not isinstance(change.delta[0], Trim))
    ordered = sorted(told, key=lambda change: change.cart_id)
    erased: dict[str, int] = {}
    for change in ordered:
        if isinstance(change.delta[0], Erase):
            erased[change.cart_id] = max(change.version, erased.get(change.cart_id, 0))
    return Batch(list(erased.items()), ordered)
