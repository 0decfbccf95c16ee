"""The decisions of a restoration that opens after the tail, and of rows that stand in for carts.

A lost partition of Redis is ready once the *tail* is put: the carts of the records that the rows in Postgres
may lack. Every other cart is complete in its row, and Redis takes it from there when somebody asks for it.
The invariant behind it: a cart that a ready Redis lacks has in its row everything before the follow position.

The model is ahead of the product here, which still scans all of `carts`: these functions belong to
`carts.protocol` as soon as it calls them.
"""

import msgspec

from carts import protocol
from carts.protocol import Deleted, PutOutcome
from carts.state import State, Version

HYDRATION = 20
"""H of the model, in ticks: how long a miss counts."""
EXPIRED_COPY = 21
"""How long an expired copy stays at least: longer than a miss counts."""
MINTED = 60
"""How long an id counts as freshly minted."""


class Marker(msgspec.Struct, frozen=True):
    """What says that a partition is ready: the restoration that made it so, from which position of the rows.

    `rows_position` is the offset in `carts` up to which the rows were written when it began (S), 0 after a
    full scan; `time_us` is when it was set, by Redis's clock.
    """

    restoration: str
    rows_position: int = 0
    time_us: int = 0


class Miss(msgspec.Struct, frozen=True):
    """That a ready Redis has no such cart: under which restoration, and when by Redis's clock."""

    restoration: str
    time_us: int


def tail_start(rows_position: int | None, since: int | None, end: int) -> int | None:
    """The offset of `carts` from which a restoration reads the tail; None: it scans all of `carts`.

    `rows_position` is S, None if Postgres does not answer or has none for this very topic; one beyond the
    `end` of `carts` is of another topic. `since` is where earlier restorations began that have put copies
    into this Redis and not finished: what they have put may be older than what the rows have now, so the
    tail reaches as far back as theirs.
    """
    if rows_position is None or rows_position > end:
        return None
    return rows_position if since is None else min(since, rows_position)


def restoration_base(recorded: State | Deleted | None, row: State | None) -> State | Deleted | None:
    """What later changes are folded onto: the higher of a cart's record in the tail and its row.

    The record may be one that fell behind (its owner has not answered it yet), the row may be older than the
    tail. A deletion wins a tie. None: there is neither.
    """
    if row is None:
        return recorded
    return recorded if protocol.keep_recovered(recorded, row) is not row else row


def rows_stand_at(read: int, beside: int) -> bool:
    """Whether rows may be taken for a restoration that has read S = `read`; else it starts over.

    `beside` is the S that stands beside them. It is lower if Postgres was put back to an earlier time.
    """
    return beside >= read


def rows_continue(expected: int, found: int) -> bool:
    """Whether the rows are as far as the sink has written them; if not it begins again where they are.

    Checked in the transaction that writes a batch and moves the position: Postgres may have been put back to
    an earlier time. Further is another sink's doing, who wrote the same; the position does not go back.
    """
    return found >= expected


def row_counts(miss: Miss, rows_position: int, marker: Marker, now_us: int, hydration_us: int) -> bool:
    """Whether a row, or that there is none, may stand for a cart that Redis lacks; else look again.

    `rows_position` is the S beside the row, which was read after the miss. The partition must still be the
    one that was asked, the rows as far as they were when it was restored, and the miss younger than
    `hydration_us`: a cart that has expired since is no longer missing, and its copy lives longer.
    """
    return (
        miss.restoration == marker.restoration
        and rows_position >= marker.rows_position
        and now_us - miss.time_us <= hydration_us
    )


def absence_remembered(marker: Marker, remembered: Marker) -> bool:
    """Whether "there is no row" still holds, learnt under the marker `remembered`: not after a new one."""
    return marker == remembered


def put_outcome(state: State, version: Version | None, window: list[tuple[int, str]]) -> PutOutcome:
    """As carts.protocol.put_outcome, but an expired state is put like any other.

    As absence it would not stay away: a row that is behind would be taken for it, and the cart be back.
    """
    outcome = protocol.put_outcome(state, version, window)
    if version is None:
        return PutOutcome.STORED
    if outcome is PutOutcome.REMOVED:
        return PutOutcome.UNCHANGED if version == state.version else PutOutcome.REPLACED
    return outcome


def expired_copy_may_go(age_us: int, row_from: int | None, rows_position: int) -> bool:
    """Whether the copy of an expired cart may leave Redis, put `age_us` ago: absence then says the same.

    The rows must have the record of its expiry, which stands before the offset `row_from` of `carts` (None:
    not known yet), and no miss from before it may count any more.
    """
    return row_from is not None and rows_position >= row_from and age_us >= EXPIRED_COPY


def minted_since(minted_us: int, marker: Marker) -> bool:
    """Whether a cart with a freshly minted id needs no look for its row: if Redis was ready before it."""
    return minted_us > marker.time_us
