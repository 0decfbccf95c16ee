"""Restorations that open after the tail, and rows that stand in for carts: the model's times, and its guards.

A lost partition of Redis is ready once the *tail* is put: the carts of the records that the rows in Postgres
may lack. Every other cart is complete in its row, and Redis takes it from there when somebody asks for it.
The invariant behind it: a cart that a ready Redis lacks has in its row everything before the follow position.

The decisions are those of `carts.protocol`; the model asks for them here, where ablations replace them.
"""

from typing import Final

from carts import protocol
from carts.limits import Timing
from carts.protocol import (
    Marker,
    Miss,
    absence_remembered,
    marker_without_copy,
    put_outcome,
    restoration_base,
    row_counts,
    rows_continue,
    rows_stand_at,
    tail_start,
)

__all__ = [
    "EXPIRED_COPY",
    "HYDRATION",
    "MINTED",
    "Marker",
    "Miss",
    "absence_remembered",
    "expired_copy_may_go",
    "marker_without_copy",
    "minted_since",
    "put_outcome",
    "restoration_base",
    "row_counts",
    "rows_continue",
    "rows_stand_at",
    "tail_start",
]

HYDRATION: Final = 20
"""H of the model, in ticks: how long a miss counts."""
EXPIRED_COPY: Final = 21
"""How long an expired copy stays at least: longer than a miss counts."""
MINTED: Final = 60
"""How long an id counts as freshly minted."""

_TIMING: Final = Timing(hydration_us=HYDRATION, expired_copy_us=EXPIRED_COPY)


def expired_copy_may_go(age_us: int, row_from: int | None, rows_position: int) -> bool:
    """As carts.protocol.expired_copy_may_go; `row_from` is None while it is not known."""
    return row_from is not None and protocol.expired_copy_may_go(age_us, row_from, rows_position, _TIMING)


def minted_since(minted_us: int, marker: Marker) -> bool:
    """Whether a cart with a freshly minted id needs no look for its row: if Redis was ready before it.

    The product looks always.
    """
    return minted_us > marker.time_us
