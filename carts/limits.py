"""The bounds of a cart. They keep every record, script and reply small: fast, and accepted."""

from typing import Final

import msgspec

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Redis scripts count in doubles: nothing that a script adds up may go beyond."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one cart; the defaults are the product's."""

    lines: int = 500
    """Lines shown, each with a quantity of at least one."""
    tracked_lines: int = 1000
    """Lines remembered, removed ones included."""
    quantity: int = 999
    """Pieces of one line."""
    saved_lines: int = 50
    """Lines saved for later."""
    steps: int = 100
    """Steps of one operation."""
    unit_price: int = 2**44 - 1
    """Minor units of the currency: a car in rials has thirteen digits of them. All lines together stay below
    2^63, where Postgres ends."""
    metadata_bytes: int = 16 * 1024
    """JSON of the metadata of a cart or of one line."""
    content_bytes: int = 256 * 1024
    """Everything the cart's lines and metadata take together."""
    window_entries: int = 1024
    """Operations of the last `window_us` since the newest order: a till scans a piece in some seconds."""
    window_bytes: int = 768 * 1024
    """JSON of those operations. A full cart fits twice: filled, and filled again after a clear."""
    ordered_entries: int = 1024
    """Operations of the last `window_us` that an order has closed over, beyond `window_entries`."""
    ordered_bytes: int = 768 * 1024
    """JSON of those operations, beyond `window_bytes`."""
    subtraction_bytes: int = 512 * 1024
    """What the subtractions of orders may take beyond all that: an order is not refused half-way."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Times of the protocol, in microseconds."""

    window_us: int = 20 * 60 * 1_000_000
    """W: an operation this much older than the newest goes into the base."""
    retry_horizon_us: int = 10 * 60 * 1_000_000
    """HR: a request first sent longer ago is refused; a retry within it never applies twice."""
    publish_deadline_us: int = 10 * 1_000_000
    """D: a change is published within this time of its script, or by the sweeper."""
    hydration_us: int = 15 * 1_000_000
    """H: what a row said of a cart that Redis lacks counts for this long after the miss."""
    expired_copy_us: int = 60 * 1_000_000
    """How long the copy of an expired cart stays in Redis at least: longer than H."""
    republish_margin_us: int = 60 * 1_000_000
    """How much earlier than it must anti-entropy stops to republish: clocks differ, scans take time."""


LIMITS: Final = Limits()
TIMING: Final = Timing()
