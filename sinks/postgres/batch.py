"""What a batch of `carts` records means for the table: the newest row or deletion of each cart. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from carts.state import Version
from topics.cart_records import CartsRecord, DeletionRecord, StateRecord
from topics.codec import decode_cart
from topics.errors import RecordError, RecordErrorCode


class Row(msgspec.Struct, frozen=True):
    """A row of `carts`; JSON as text, times as RFC 3339, `subtotal` in minor units."""

    cart_id: str
    v: int
    n: int
    digest: int
    status: str
    currency: str | None
    subtotal: int
    lines: str
    metadata: str
    state: str
    created_at: str | None
    updated_at: str | None


class Deletion(msgspec.Struct, frozen=True):
    """A cart is gone as of a version."""

    cart_id: str
    v: int
    n: int


class Batch(msgspec.Struct, frozen=True):
    """The statements of one transaction: each cart once, sorted by id."""

    rows: list[Row]
    deletions: list[Deletion]


class _Totals(msgspec.Struct, frozen=True):
    subtotal: int


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


def row_change(said: CartsRecord | None) -> Row | Deletion | None:
    """What a record changes in the table, if anything. Raises RecordError for one that nobody can read."""
    match said:
        case StateRecord():
            return row_of(said.cart_id, said.value)
        case DeletionRecord():
            return Deletion(said.cart_id, said.version.number, said.version.operation_count)
        case _:
            return None


def row_of(cart_id: str, value: bytes) -> Row:
    """The row for a cart's state. Raises RecordError for a value that nobody can read, or of another cart."""
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
        record.created_at,
        record.updated_at,
    )


def newest(changes: Iterable[Row | Deletion | None]) -> Batch:
    """The one row or deletion of each cart that counts: the highest version; a deletion wins a tie."""
    kept: dict[str, Row | Deletion] = {}
    for change in changes:
        if change is not None and (change.cart_id not in kept or _rank(change) > _rank(kept[change.cart_id])):
            kept[change.cart_id] = change
    ordered = [kept[cart_id] for cart_id in sorted(kept)]
    return Batch(
        [change for change in ordered if isinstance(change, Row)],
        [change for change in ordered if isinstance(change, Deletion)],
    )


def _rank(change: Row | Deletion) -> tuple[int, int, bool]:
    return change.v, change.n, isinstance(change, Deletion)


def _json(raw: msgspec.Raw) -> str:
    return str(memoryview(raw), "utf-8")
