"""The decisions that stand between the stores: what may be published, put, kept, republished or deleted.

Each takes values and returns a value; the processes call it and only move data around. Where Lua, SQL or the
broker has to decide, the docstring says who mirrors the function and which test holds the mirror to it
(`tests/carts/test_protocol_is_used.py` asks for one or the other). Times are microseconds, version numbers
count half-microseconds. The model in `tests/model` runs these functions through random histories and shows
for each of them which promise breaks without it.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from carts.ids import SYSTEM_OP_PREFIX
from carts.limits import TIMING, Timing
from carts.state import State, Version, add_digests, uncovered


class Durability(StrEnum):
    """How far a change has got when the reply leaves; each level includes the ones before."""

    REDIS = "redis"
    KAFKA = "kafka"
    POSTGRES = "postgres"


class Alive(msgspec.Struct, frozen=True):
    """A state in `carts` of which only the version has been looked at."""

    version: Version


class Deleted(msgspec.Struct, frozen=True):
    """A null in `carts`: the version it deletes, as its header carries it."""

    version: Version


Recorded = State | Alive | Deleted
"""What a `carts` record says of a cart."""


def next_version(previous_version: int, time_us: int) -> int:
    """The version number of a write onto a copy at `previous_version`: even, above it, not behind the clock.

    Mirrored by `store/redis/scripts/change.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return 2 * max(previous_version // 2 + 1, time_us)


# Gateway


def request_in_time(now_us: int, first_seen_us: int, timing: Timing = TIMING) -> bool:
    """Whether the script may take a request first sent at `first_seen_us`: its first try may be trimmed.

    Mirrored by `store/redis/scripts/change.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return now_us <= first_seen_us + timing.retry_horizon_us


def publish_allowed(backlog_us: int, timing: Timing = TIMING) -> bool:
    """Whether a change may be published past the partition's outbox; else the sweeper publishes it in turn.

    `backlog_us` is the age of the oldest entry: nothing overtakes one older than D, or the floor could move
    past it.
    """
    return backlog_us <= timing.publish_deadline_us


def publish_in_time(now_us: int, since_us: int, timing: Timing = TIMING) -> bool:
    """Whether a change may still reach the log: D after its script, or after a sweeper has read its entry.

    Whoever was frozen meanwhile is refused; the sweeper reads again. The broker decides, for a publisher
    cannot know how long it will be frozen: records bear `since_us` as their timestamp. Mirrored by
    `topics/registry.py` (message.timestamp.before.max.ms), held to it by `tests/topics/test_plan.py`.
    """
    return now_us - since_us <= timing.publish_deadline_us


def durability_at_once(*, in_outbox: bool) -> Durability:
    """What holds of an operation in Redis: its entry leaves the outbox only after Kafka's acknowledgement."""
    return Durability.REDIS if in_outbox else Durability.KAFKA


def reached_postgres(row: State | None, op_id: str, version: int) -> bool:
    """Whether the row has the operation as it was acknowledged: covered at `version` or a later attempt.

    An earlier attempt does not do: what was written between the two may hide it in the row, though not in
    the cart that the reply has shown.
    """
    return row is not None and not uncovered(row, [(version, op_id)])


# Outbox


def removes(acknowledged_op_id: str, found_op_id: str) -> bool:
    """Whether an acknowledgement removes the entry at its id: after a rollback the id may be another's.

    Mirrored by `store/redis/scripts/outbox_remove.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return acknowledged_op_id == found_op_id


# Redis copy


class PutOutcome(StrEnum):
    """What putting a state does to Redis's copy of its cart."""

    STORED = "stored"
    """Redis had no such cart."""
    REPLACED = "replaced"
    """The state covers Redis's copy, which it replaces."""
    UNCHANGED = "unchanged"
    """Redis has this state."""
    REMOVED = "removed"
    """The cart was deleted, and Redis's copy knows nothing newer."""
    UNCOVERED = "uncovered"
    """Redis's copy has operations that the state lacks: it stays."""
    ABSENT = "absent"
    """Redis has no such cart, and only copies that it has were to be replaced."""


def put_outcome(state: State, version: Version | None, window: Iterable[tuple[int, str]]) -> PutOutcome:
    """What putting `state` does to a copy at `version` (none: absent) with this window of (version, op_id).

    Coverage decides; versions are copied, never compared. The same version with an empty window is the copy,
    trimmed. An expired state is put like any other: as absence
    it would not stay away, for a row that is behind would be taken for the cart, and it would be back.
    Mirrored by `store/redis/scripts/put.lua`, held to it by `tests/store/redis/test_put_equals_protocol.py`.
    """
    if version is None:
        return PutOutcome.STORED
    window = list(window)
    is_smaller = not state.ops and any(op_id for _, op_id in window)
    if version == state.version and not is_smaller:
        return PutOutcome.UNCHANGED
    return PutOutcome.UNCOVERED if uncovered(state, window) else PutOutcome.REPLACED


def newer(version: Version, copy: Version, window: Iterable[tuple[int, str]]) -> list[tuple[int, str]] | None:
    """What of a copy the state at `version` does not cover, if the copy is that state with newer operations.

    None: the versions and the copy's window do not tell, and the state itself is needed. So it is where one
    of the newer operations is a merge's or the fold's, which the state may know without an entry. Mirrored by
    `store/redis/scripts/put.lua`, held to it by `tests/store/redis/test_put_equals_protocol.py`.
    """
    found = [(v, op_id) for v, op_id in window if v > version.number]
    if not found or any(op_id.startswith(SYSTEM_OP_PREFIX) for _, op_id in found):
        return None
    count, digest = version.operation_count + len(found), add_digests(version.digest, found)
    return found if (count, digest) == (copy.operation_count, copy.digest) else None


def replace_outcome(state: State, version: Version | None, window: Iterable[tuple[int, str]]) -> PutOutcome:
    """What replacing a copy does with a state that was read some time ago, to neither follow nor restore.

    Redis may have been lost since. A cart that it lacks has in its row all that is not followed any more; an
    older state in its place would hide that for good. So it stays absent (`row_counts` says what may be
    brought in). A copy is replaced even at the same version: it may differ all the same. Mirrored by
    `store/redis/scripts/put.lua`, held to it by `tests/store/redis/test_put_equals_protocol.py`.
    """
    if version is None:
        return PutOutcome.ABSENT
    return PutOutcome.UNCOVERED if uncovered(state, window) else PutOutcome.REPLACED


def expired_copy_may_go(age_us: int, row_from: int, rows_position: int, timing: Timing = TIMING) -> bool:
    """Whether the copy of an expired cart may leave Redis, put `age_us` ago: absence then says the same.

    The rows must have the record of its expiry, which stands before the offset `row_from` of `carts`, and no
    miss from before it may count any more. Mirrored by `store/redis/scripts/drop_expired.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return rows_position >= row_from and age_us >= timing.expired_copy_us


def deletion_clears(deleted: Deleted, version: Version, window: Iterable[tuple[int, str]]) -> bool:
    """Whether a null in `carts` clears a copy: only one that knows nothing newer than what was deleted.

    Mirrored by `store/redis/scripts/put.lua`, held to it by `tests/store/redis/test_put_equals_protocol.py`.
    """
    return rank(version) <= rank(deleted.version) and all(v <= deleted.version.number for v, _ in window)


def too_stale(version: int, now_us: int, horizon_us: int) -> bool:
    """Whether a copy or row at `version` counts as absent: its cart may have been deleted meanwhile.

    Mirrored by `store/redis/scripts/change.lua` and `store/redis/scripts/hydrate.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return version < 2 * (now_us - horizon_us)


class Marker(msgspec.Struct, frozen=True):
    """What says that a partition is ready: the restoration that made it so, and on which rows.

    `rows_position` is the offset in `carts` up to which the rows were written when it began (S), 0 after a
    full scan, or a later one that they have to be at since. `time_us` is when it was set, by Redis's clock.
    `topic_id` is the topic's that was read.
    """

    restoration: str
    rows_position: int = 0
    time_us: int = 0
    topic_id: str = ""


def marker_without_copy(marker: Marker, row_from: int) -> Marker:
    """The marker once the copy of an expired cart has left Redis: from then on its row has to stand for it.

    Rows that are put back to before the cart's expiry do not count. Mirrored by
    `store/redis/scripts/drop_expired.lua`, held to it by `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return msgspec.structs.replace(marker, rows_position=max(marker.rows_position, row_from))


class Miss(msgspec.Struct, frozen=True):
    """That a ready Redis has no such cart: under which restoration, and when by Redis's clock."""

    restoration: str
    time_us: int


class CartRow(msgspec.Struct, frozen=True):
    """What Postgres has of a cart, if it has a row, and up to where in `carts` the partition's rows are.

    `topic_id` is the topic's whose offset that is; without a position it is 0.
    """

    state: State | None
    position: int = 0
    topic_id: str = ""

    def position_for(self, marker: Marker) -> int:
        """How far the rows are in the topic that the marker speaks of."""
        return self.position if self.topic_id == marker.topic_id else 0


def row_counts(
    miss: Miss, rows_position: int, marker: Marker, now_us: int, hydration_us: int = TIMING.hydration_us
) -> bool:
    """Whether a row, or that there is none, may stand for a cart that Redis lacks; else look again.

    `rows_position` is the S beside the row, which was read after the miss. The partition must still be the
    one that was asked, the rows as far as they were when it was restored, and the miss younger than
    `hydration_us`: a cart that has expired since is no longer missing, and its copy lives longer.
    Mirrored by `store/redis/scripts/_row_counts.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return (
        miss.restoration == marker.restoration
        and rows_position >= marker.rows_position
        and now_us - miss.time_us <= hydration_us
    )


def absence_remembered(marker: Marker, remembered: Marker) -> bool:
    """Whether "there is no row" still holds, learnt under the marker `remembered`: not after a new one."""
    return marker == remembered


def may_republish(version: int, now_us: int, timing: Timing = TIMING, *, in_outbox: bool) -> bool:
    """Whether anti-entropy may publish an uncovered operation again.

    Not while its outbox entry exists (the sweeper's), only while no retry and no floor can have passed it.
    """
    youngest_floor = timing.window_us - timing.retry_horizon_us - timing.publish_deadline_us
    return not in_outbox and 2 * now_us - version <= 2 * (youngest_floor - timing.republish_margin_us)


# Restore and follow


def restore_continues(token: str, sequence: int, found_token: str | None, found_sequence: int) -> bool:
    """Whether Redis is still the one this restore has filled so far; if not it starts over.

    Mirrored by `store/redis/scripts/put.lua` and `store/redis/scripts/restore_finish.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return (token, sequence) == (found_token, found_sequence)


def tail_start(rows_position: int | None, since: int | None, end: int) -> int | None:
    """The offset of `carts` from which a restoration reads the tail; None: it scans all of `carts`.

    `rows_position` is S, None if Postgres does not answer or has none for this very topic; one beyond the
    `end` of `carts` is of another topic. `since` is where earlier restorations began that have put copies
    into this Redis and not finished, or where it has followed to: what it has may be older than what the rows
    have now, so the tail reaches as far back as that.
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
    return recorded if keep_recovered(recorded, row) is not row else row


def rows_stand_at(read: int, beside: int) -> bool:
    """Whether rows may be taken for a restoration that has read S = `read`; else it starts over.

    `beside` is the S that stands beside them. It is lower if Postgres was put back to an earlier time.
    """
    return beside >= read


def follow_continues(expected: int | None, found: int | None) -> bool:
    """Whether Redis has followed `carts` up to where the agent thinks; if not the agent goes to `found`.

    None: Redis has followed nothing yet. Mirrored by `store/redis/scripts/put.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return expected == found


# Table, `carts` and Postgres


def rank(version: Version) -> tuple[int, int]:
    """What versions of one cart are compared by in guards."""
    return version.number, version.operation_count


def keep_recovered(kept: Recorded | None, read: Recorded) -> Recorded:
    """Which of two records of a cart a recovery keeps: a compacted topic ends with the last, not the highest.

    At equal versions a deletion wins, for it deletes just that version; else the later record does, which may
    be the same state, trimmed.
    """
    if kept is None or rank(read.version) > rank(kept.version):
        return read
    is_tie = rank(read.version) == rank(kept.version)
    return read if is_tie and (isinstance(read, Deleted) or not isinstance(kept, Deleted)) else kept


def emit_again(own: State | Alive | None, read: Recorded, purge_floor: int) -> bool:
    """Whether the owner of a table answers a foreign record, read after its own, with its state or null."""
    if own is None:
        return not isinstance(read, Deleted) and read.version.number <= purge_floor
    return rank(read.version) < rank(own.version)


def rows_continue(expected: int, found: int) -> bool:
    """Whether the rows are as far as the sink has written them; if not it begins again where they are.

    Checked in the transaction that writes a batch and moves the position: Postgres may have been put back to
    an earlier time. Further is another sink's doing, who wrote the same. Mirrored by
    `store/postgres/sql/positions.sql`, held to it by `tests/sinks/test_rows_equal_protocol.py`.
    """
    return found >= expected


def row_replaced(row: Version | None, state: Version, *, is_smaller: bool = False) -> bool:
    """Whether a state replaces the row of its cart; at the same version, if its window `is_smaller`.

    Mirrored by `store/postgres/sql/carts.sql`, held to it by `tests/sinks/test_rows_equal_protocol.py`.
    """
    return row is None or rank(state) > rank(row) or (is_smaller and state == row)


def row_deleted(row: Version, deleted: Deleted) -> bool:
    """Whether a null in `carts` deletes the row of its cart.

    Mirrored by `store/postgres/sql/carts.sql`, held to it by `tests/sinks/test_rows_equal_protocol.py`.
    """
    return rank(row) <= rank(deleted.version)
