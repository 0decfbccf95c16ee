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

from carts.limits import TIMING, Timing
from carts.state import State, Version, uncovered


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
    """The state covers Redis's copy and differs."""
    UNCHANGED = "unchanged"
    """Redis has this state."""
    REMOVED = "removed"
    """The state is expired and covers Redis's copy: expired carts are absent."""
    UNCOVERED = "uncovered"
    """Redis's copy has operations that the state lacks: it stays."""


def put_outcome(state: State, version: Version | None, window: Iterable[tuple[int, str]]) -> PutOutcome:
    """What putting `state` does to a copy at `version` (none: absent) with this window of (version, op_id).

    Coverage decides; versions are copied, never compared. An expired state is put as absence. Mirrored by
    `store/redis/scripts/put.lua`, held to it by `tests/store/redis/test_put_equals_protocol.py`.
    """
    if version is None:
        return PutOutcome.UNCHANGED if state.expired else PutOutcome.STORED
    if uncovered(state, window):
        return PutOutcome.UNCOVERED
    if state.expired:
        return PutOutcome.REMOVED
    return PutOutcome.UNCHANGED if version == state.version else PutOutcome.REPLACED


def deletion_clears(deleted: Deleted, version: Version, window: Iterable[tuple[int, str]]) -> bool:
    """Whether a null in `carts` clears a copy: only one that knows nothing newer than what was deleted.

    To put.lua a null is an expired state: mirrored by `sinks/redis/copies.py`, held to it by
    `tests/sinks/test_copies.py`.
    """
    return rank(version) <= rank(deleted.version) and all(v <= deleted.version.number for v, _ in window)


def too_stale(version: int, now_us: int, horizon_us: int) -> bool:
    """Whether a copy or row at `version` counts as absent: its cart may have been deleted meanwhile.

    Mirrored by `store/redis/scripts/change.lua` and `store/redis/scripts/hydrate.lua`, held to it by
    `tests/store/redis/test_scripts_equal_protocol.py`.
    """
    return version < 2 * (now_us - horizon_us)


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
    """Whether a state replaces the row of its cart.

    Mirrored by `store/postgres/sql/carts.sql`, held to it by `tests/sinks/test_rows_equal_protocol.py`.
    """
    return row is None or rank(state) > rank(row)


def row_deleted(row: Version, deleted: Deleted) -> bool:
    """Whether a null in `carts` deletes the row of its cart.

    Mirrored by `store/postgres/sql/carts.sql`, held to it by `tests/sinks/test_rows_equal_protocol.py`.
    """
    return rank(row) <= rank(deleted.version)
