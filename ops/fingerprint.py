"""A fingerprint of what a reader sees of a cart, equal for equal carts in every store. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from carts.details import NO_DETAILS, Details
from carts.operations import Metadata
from carts.view import CartLine, CartView, SavedForLater

_JSON: Final = msgspec.json.Encoder(order="deterministic")
_DIGEST_BYTES: Final = 16


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Status, subtotal in minor units of the currency, lines in their order, metadata, details, successor."""

    status: str
    currency: str | None
    subtotal: int
    lines: list[CartLine]
    metadata: Metadata
    details: Details = NO_DETAILS
    saved: Sequence[SavedForLater] = ()
    merged_into: str | None = None


def shown(view: CartView) -> Shown:
    """What the view shows, times and version apart."""
    return Shown(
        status=view.status,
        currency=view.currency,
        subtotal=view.totals.subtotal,
        lines=list(view.lines),
        metadata=view.metadata,
        details=view.details,
        saved=view.saved,
        merged_into=view.merged_into,
    )


def fingerprint(what: Shown) -> bytes:
    """16 bytes that differ where a reader would see a difference."""
    plain = msgspec.structs.replace(
        what,
        metadata=_plain(what.metadata),
        lines=[
            # Derived from the rest, and not in the rows of older records.
            msgspec.structs.replace(line, metadata=_plain(line.metadata), line_total=0)
            for line in what.lines
        ],
    )
    return hashlib.blake2b(_JSON.encode(plain), digest_size=_DIGEST_BYTES).digest()


def _plain(value: Any) -> Any:
    """The value with all numbers as floats: jsonb writes 1e2 as 100, and both are the same number."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
