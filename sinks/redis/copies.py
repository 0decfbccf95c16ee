"""Which states belong into Redis, given records of `carts` and later ones of `cart-changed`. Pure."""

from collections.abc import Iterable
from typing import Final

from carts.fold import fold
from carts.protocol import Deleted, keep_recovered
from carts.state import State
from topics.cart_records import DeletionRecord, StateRecord
from topics.codec import decode_change
from topics.errors import RecordError

Found = State | Deleted
"""What a `carts` record says of its cart."""

_NEVER_US: Final = 2**62


def found_in(said: StateRecord | DeletionRecord) -> Found:
    """The state or deletion in a record. Raises RecordError for an unreadable state."""
    return Deleted(said.version) if isinstance(said, DeletionRecord) else said.state()


def keep(kept: dict[str, Found], cart_id: str, found: Found) -> None:
    """Keep the higher version of a cart: a topic ends with the last record, not with the highest."""
    before = kept.get(cart_id)
    if before is None or keep_recovered(before, found) is found:
        kept[cart_id] = found


def refold(
    found: Found | None, cart_id: str, changes: Iterable[bytes | None], purge_floor: int
) -> State | None:
    """The state after changes that compaction may not have folded yet, by the fold that compaction uses.

    What compaction will refuse is left out. Purges are left to it: an expired cart is absent here anyway.
    """
    state = found if isinstance(found, State) else None
    if isinstance(found, Deleted):
        purge_floor = max(purge_floor, found.version.number)
    for value in changes:
        try:
            change = decode_change(value)
        except RecordError:
            continue
        if change.cart_id == cart_id:
            state = fold(state, change, purge_floor=purge_floor, retention_us=_NEVER_US).state
    return state
