"""Which states belong into Redis, given records of `carts` and later ones of `cart-changed`. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from carts.fold import fold
from carts.operations import Expire, Operation
from carts.protocol import Deleted, keep_recovered
from carts.state import EXPIRY_PREFIX, State
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


def copies(kept: Mapping[str, Found]) -> list[tuple[str, State]]:
    """The states to put. A deletion is put as an expired state, which removes only what it covers."""
    return [
        (cart_id, _gone(found) if isinstance(found, Deleted) else found) for cart_id, found in kept.items()
    ]


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


def _gone(deleted: Deleted) -> State:
    v = deleted.version.number
    expiry = Operation(
        v + 1,
        f"{EXPIRY_PREFIX}{v}-{deleted.version.operation_count}",
        "",
        (Expire(v, deleted.version.operation_count, v // 2),),
    )
    return State(floor=v, ops=(expiry,))
