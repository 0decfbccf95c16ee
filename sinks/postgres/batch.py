"""What a batch of `carts` records means for the table: the newest row or deletion of each cart. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from carts.protocol import Alive, Deleted, keep_recovered
from carts.state import Version
from store.postgres.carts import Deletion, Row
from topics.cart_records import CartsRecord, DeletionRecord, StateRecord
from topics.codec import decode_cart
from topics.errors import RecordError, RecordErrorCode


class Batch(msgspec.Struct, frozen=True):
    """The statements of one transaction: each cart once, sorted by id."""

    rows: list[Row]
    deletions: list[Deletion]


class _Totals(msgspec.Struct, frozen=True):
    subtotal: int


class _Window(msgspec.Struct, frozen=True):
    ops: msgspec.Raw = msgspec.Raw()


class _Columns(msgspec.Struct, frozen=True):
    """A `carts` value cut into columns: the JSON ones keep the bytes they came in."""

    cart_id: str
    status: str
    version: str
    currency: str | None
    totals: _Totals
    lines: msgspec.Raw
    metadata: msgspec.Raw
    state: msgspec.Raw
    created_at: str | None = None
    updated_at: str | None = None


_columns: Final = msgspec.json.Decoder(_Columns)
_window: Final = msgspec.json.Decoder(_Window)


def row_change(said: CartsRecord | None) -> Row | Deletion | None:
    """What a record changes in the table, if anything. Raises RecordError for an unreadable one."""
    match said:
        case StateRecord():
            return row_of(said.cart_id, said.value)
        case DeletionRecord():
            return Deletion(said.cart_id, said.version.number, said.version.operation_count)
        case _:
            return None


def row_of(cart_id: str, value: bytes) -> Row:
    """The row for a cart's state. Raises RecordError for a value that is unreadable or of another cart."""
    # Read as a whole first: a row that the gateway cannot make a cart of would be worse than no row.
    decode_cart(value)
    record = _columns.decode(value)
    version = Version.parse(record.version)
    if version is None:
        raise RecordError(RecordErrorCode.BAD_VERSION, f"version {record.version!r} is not v-n-digest")
    if record.cart_id != cart_id:
        raise RecordError(RecordErrorCode.BAD_CART_ID, f"key {cart_id!r}, cart {record.cart_id!r}")
    return Row(
        record.cart_id,
        version.number,
        version.operation_count,
        version.digest,
        record.status,
        record.currency,
        record.totals.subtotal,
        _json(record.lines),
        _json(record.metadata),
        _json(record.state),
        len(memoryview(_window.decode(record.state).ops)),
        record.created_at,
        record.updated_at,
    )


def newest(changes: Iterable[Row | Deletion | None]) -> Batch:
    """The one row or deletion of each cart that counts: the highest version.

    At a tie a deletion wins, else the later row.
    """
    kept: dict[str, Row | Deletion] = {}
    for change in changes:
        if change is None:
            continue
        before, found = kept.get(change.cart_id), _recorded(change)
        if before is None or keep_recovered(_recorded(before), found) is found:
            kept[change.cart_id] = change
    ordered = [kept[cart_id] for cart_id in sorted(kept)]
    return Batch(
        [change for change in ordered if isinstance(change, Row)],
        [change for change in ordered if isinstance(change, Deletion)],
    )


def _recorded(change: Row | Deletion) -> Alive | Deleted:
    version = Version(change.version_number, change.operation_count)
    return Deleted(version) if isinstance(change, Deletion) else Alive(version)


def _json(raw: msgspec.Raw) -> str:
    return str(memoryview(raw), "utf-8")
