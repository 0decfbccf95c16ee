"""The decisions that stand between the stores: what may be published, put, kept, republished or deleted.

Each takes values and returns a value; the processes only move data around them. Times are microseconds,
versions `v` count half-microseconds. The model in `tests/model` runs these functions through random
histories and shows for each of them which promise breaks without it.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from carts.limits import TIMING, Timing
from carts.state import State, Version, uncovered


class Durability(StrEnum):
    """How far an acknowledged change has got. The ladder is cumulative."""

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
    """The v of a write onto a copy at `previous_version`: even, above it, and not behind the clock."""
    return 2 * max(previous_version // 2 + 1, time_us)


# Gateway


def request_in_time(now_us: int, first_seen_us: int, timing: Timing = TIMING) -> bool:
    """Whether the script may take a request first sent at `first_seen_us`: its first try may be trimmed."""
    return now_us <= first_seen_us + timing.retry_horizon_us


def publish_allowed(waited_us: int, backlog_us: int, timing: Timing = TIMING) -> bool:
    """Whether a gateway may publish a change itself; the sweeper does it otherwise.

    `waited_us` is the time since its script, `backlog_us` the age of the partition's oldest outbox entry
    then: nothing overtakes an entry older than D, or the floor could move past it.
    """
    return waited_us <= timing.publish_deadline_us and backlog_us <= timing.publish_deadline_us


def replay_durability(*, in_outbox: bool) -> Durability:
    """What a replay may promise at once: an entry leaves the outbox only after its acknowledgement."""
    return Durability.REDIS if in_outbox else Durability.KAFKA


def reached_postgres(row: State | None, op_id: str, v: int) -> bool:
    """Whether the row has the operation: among its entries, or in its base."""
    return row is not None and (v <= row.floor or any(op.op_id == op_id for op in row.ops))


# Outbox


def sweep_allowed(now_us: int, read_us: int, timing: Timing = TIMING) -> bool:
    """Whether a sweeper may publish an entry read at `read_us`; one that was frozen meanwhile reads again."""
    return now_us - read_us <= timing.publish_deadline_us


def removes(acknowledged_op_id: str, found_op_id: str) -> bool:
    """Whether an acknowledgement removes the entry at its id: after a rollback the id may be another's."""
    return acknowledged_op_id == found_op_id


# Redis copy


class Put(StrEnum):
    """What a put does to Redis's copy of a cart."""

    SET = "set"
    CLEAR = "clear"
    SAME = "same"
    UNCOVERED = "uncovered"


def put_verdict(state: State, version: Version | None, window: Iterable[tuple[int, str]]) -> Put:
    """What putting `state` does to a copy at `version` (none: absent) with this window of (v, op_id).

    Coverage decides; versions are copied, never compared. An expired state is put as absence.
    """
    if version is not None and uncovered(state, window):
        return Put.UNCOVERED
    if state.expired:
        return Put.SAME if version is None else Put.CLEAR
    return Put.SAME if version == state.version else Put.SET


def deletion_clears(deleted: Deleted, version: Version, window: Iterable[tuple[int, str]]) -> bool:
    """Whether a null in `carts` clears a copy: only one that knows nothing newer than what was deleted."""
    return rank(version) <= rank(deleted.version) and all(v <= deleted.version.number for v, _ in window)


def too_stale(v: int, now_us: int, horizon_us: int) -> bool:
    """Whether a copy or row at `v` counts as absent: its cart may have been deleted meanwhile."""
    return v < 2 * (now_us - horizon_us)


def may_republish(v: int, now_us: int, timing: Timing = TIMING, *, in_outbox: bool) -> bool:
    """Whether anti-entropy may publish an uncovered operation again.

    Not while its outbox entry exists (the sweeper's), only while no retry and no floor can have passed it.
    """
    youngest_floor = timing.window_us - timing.retry_horizon_us - timing.publish_deadline_us
    return not in_outbox and 2 * now_us - v <= 2 * (youngest_floor - timing.republish_margin_us)


# Restore and follow


def restore_continues(token: str, sequence: int, found_token: str | None, found_sequence: int) -> bool:
    """Whether Redis is still the one this restore has filled so far; if not it starts over."""
    return (token, sequence) == (found_token, found_sequence)


def follow_continues(expected: int, found: int) -> bool:
    """Whether Redis has followed `carts` up to where the agent thinks; if not the agent goes to `found`."""
    return expected == found


# Table, `carts` and Postgres


def rank(version: Version) -> tuple[int, int]:
    """What versions of one cart are compared by in guards."""
    return version.number, version.operation_count


def keep_recovered(kept: Recorded | None, read: Recorded) -> Recorded:
    """Which of two records of a cart a recovery keeps: a compacted topic ends with the last, not the highest.

    At equal versions a deletion wins, for it deletes just that version.
    """
    if kept is None or rank(read.version) > rank(kept.version):
        return read
    return read if rank(read.version) == rank(kept.version) and isinstance(read, Deleted) else kept


def emit_again(own: State | Alive | None, read: Recorded, purge_floor: int) -> bool:
    """Whether the owner of a table answers a foreign record, read after its own, with its state or null."""
    if own is None:
        return not isinstance(read, Deleted) and read.version.number <= purge_floor
    return rank(read.version) < rank(own.version)


def row_replaced(row: Version | None, state: Version) -> bool:
    """Whether a state replaces the row of its cart; the sink's SQL says the same."""
    return row is None or rank(state) > rank(row)


def row_deleted(row: Version, deleted: Deleted) -> bool:
    """Whether a null in `carts` deletes the row of its cart; the sink's SQL says the same."""
    return rank(row) <= rank(deleted.version)
