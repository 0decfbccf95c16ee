"""What the guards are replaced with. Each has the signature of what it replaces, and less to say."""

# They replace private functions too, and need not use every argument.
# ruff: noqa: ARG001, SLF001

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from carts import fold as folding
from carts import ordering, protocol
from carts import state as states
from carts.content import _Draft
from carts.fold import Outcome, Verdict
from carts.limits import MAX_SAFE_INTEGER, Timing
from carts.operations import Change, Delta, Expire, Operation, OrderedLine, Purge, Trim, Withdrawal
from carts.protocol import Deleted, Durability, PutOutcome, Recorded
from carts.state import State, Version
from tests.model import redis_mirror, streams
from tests.model.gateway import Flight, Gateway
from tests.model.merge import Database
from tests.model.redis_mirror import Redis, Reply, Request
from tests.model.streams import Compaction, Worker
from tests.model.world import TIMING, World

Replacement = Callable[..., Any]

_trim, _fold, _write, _void = states.trim, folding.fold, folding._write, folding._voids
_subtract, _lines_to_order, _subtract_script = (
    _Draft._withdraw,
    ordering.lines_to_order,
    redis_mirror.subtract,
)
_erase, _trim_idle = states.erase, states.trim_idle
_keep_recovered = protocol.keep_recovered
_may_subtract = ordering.may_subtract
_put_outcome, _recovered = protocol.put_outcome, streams.recovered


def always(*_: object, **__: object) -> bool:
    return True


def never(*_: object, **__: object) -> bool:
    return False


def next_out_alone(database: Database, cart: str) -> int:
    return len(database.of_guest(cart)) + 1


def next_into_alone(database: Database, cart: str) -> int:
    return len(database.placed(cart)) + 1


def nothing(*_: object, **__: object) -> list[Any]:
    return []


def trim_without_floor(state: State, timing: Timing) -> State:
    return msgspec.structs.replace(_trim(state, timing), floor=0)


def first_attempt_only(state: State, change: Change, timing: Timing) -> Outcome:
    known = any(op.op_id == change.op_id for op in state.ops)
    return Outcome(state, Verdict.KNOWN) if known else _write(state, change, timing)


def uncovered_by_id(state: State, window: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    known = {op.op_id for op in state.ops}
    return [(v, op_id) for v, op_id in window if v > state.floor and op_id not in known]


def put_newer_only(state: State, version: Version | None, window: list[tuple[int, str]]) -> PutOutcome:
    outcome = _put_outcome(state, version, window)
    older = version is not None and protocol.rank(state.version) <= protocol.rank(version)
    return PutOutcome.UNCHANGED if outcome is PutOutcome.REPLACED and older else outcome


def row_of_lines(world: World) -> State | None:
    if world.row is None:
        return None
    version = world.row.version
    return State(base=world.row.content(), trimmed=version.operation_count, trimmed_digest=version.digest)


def drop_and_go_on(compaction: Compaction, _pick: int) -> None:
    compaction.owner.pending.clear()


def keep_last(kept: Recorded | None, read: Recorded) -> Recorded:
    return read


def keep_local_store(compaction: Compaction, back: int) -> None:
    own = compaction.owner
    kept, floor = _recovered(compaction.world), compaction.world.purge_floor
    compaction.owner = Worker(
        table=own.table or (kept if isinstance(kept, State) else None),
        known=own.known or (streams.known_of(kept) if isinstance(kept, State) else kept),
        purge_floor=max(floor, own.purge_floor),
        position=max(compaction.world.log_start, compaction.committed - back),
    )


def skip_some(compaction: Compaction, _fold_next: Replacement = Compaction.fold_next) -> bool:
    if compaction.owner.position % 5 == 3 and compaction.owner.position >= compaction.furthest:
        compaction.skipped.add(compaction.owner.position)
        compaction.owner.position += 1
    return bool(_fold_next(compaction))


def expire_at_once(state: State | None, step: Expire) -> Outcome:
    current = state is not None and (state.version_number, state.operation_count) == (
        step.seen,
        step.seen_operation_count,
    )
    return Outcome(None, Verdict.DELETED) if current else Outcome(state, Verdict.KNOWN)


def void_exact(state: State, change: Change) -> list[Operation]:
    exact = [
        op
        for op in state.ops
        for step in op.delta
        if isinstance(step, Expire) and step.seen == change.previous_version
    ]
    return _void(state, change) if exact else []


def expire_old_clock(
    state: State | None, step: Expire, _expire: Callable[[State | None, Expire], Outcome] = folding._expire
) -> Outcome:
    outcome = _expire(state, msgspec.structs.replace(step, at=0))
    if outcome.verdict is not Verdict.CHANGED or outcome.state is None:
        return outcome
    ops = (*outcome.state.ops[:-1], msgspec.structs.replace(outcome.state.ops[-1], delta=(step,)))
    return Outcome(msgspec.structs.replace(outcome.state, ops=ops), outcome.verdict)


def subtract_always(draft: _Draft, step: Withdrawal, start: int) -> None:
    _subtract(
        draft, msgspec.structs.replace(step, lines=tuple(_undecided(line) for line in step.lines)), start
    )


def _undecided(line: OrderedLine) -> OrderedLine:
    return msgspec.structs.replace(line, decided_version=MAX_SAFE_INTEGER)


def lines_decided_by_the_snapshot(state: State) -> tuple[OrderedLine, ...]:
    return tuple(
        msgspec.structs.replace(line, decided_version=state.version_number) for line in _lines_to_order(state)
    )


def as_ordered(delta: Delta, base: State, v: int, left: int) -> Delta:
    return delta


def left_already(base: State, v: int, timing: Timing) -> int:
    return base.floor


def subtract_from_any(folded: State | None, delta: Delta) -> bool:
    return folded is not None and not folded.expired


def lines_as_handed_out(lines: Iterable[OrderedLine], snapshot: State) -> tuple[OrderedLine, ...]:
    return tuple(lines)


def trim_and_forget_orders(state: State, timing: Timing) -> State:
    return msgspec.structs.replace(_trim(state, timing), ordered_version=0)


def order_known_without_an_entry(state: State, change: Change, timing: Timing) -> Outcome:
    is_there = any(op.op_id == change.op_id for op in state.ops)
    if change.version > state.floor and not is_there and state.remembers(change.op_id, change.delta):
        return Outcome(state, Verdict.KNOWN)
    return _write(state, change, timing)


def subtract_on_the_copy(
    redis: Redis,
    folded: State | None,
    request: Request,
    cart_id: str,
    now_us: int,
    timing: Timing,
    horizon_us: int,
) -> tuple[Redis, Reply]:
    copy = redis_mirror.present(redis, now_us, horizon_us)
    if copy is None or redis_mirror.knows(copy, request.op_id):
        return _subtract_script(redis, folded, request, cart_id, now_us, timing, horizon_us)
    known_of = copy.version.number
    return redis_mirror.append(redis, copy, request, cart_id, known_of, now_us, timing)


def newest_of_all(ops: Iterable[Operation]) -> int:
    return max((op.version for op in ops), default=0)


def fold_without_purge_floor(
    state: State | None, change: Change, *, purge_floor: int, **options: Any
) -> Outcome:
    return _fold(state, change, **options)


def purge_whatever(state: State | None, step: Purge, retention_us: int) -> Outcome:
    return Outcome(state, Verdict.KNOWN) if state is None else Outcome(None, Verdict.DELETED)


def erase_and_keep_the_floor(state: State, operation: Operation) -> State:
    return msgspec.structs.replace(_erase(state, operation), floor=state.floor)


def republish_any_age(v: int, now_us: int, timing: Timing, *, in_outbox: bool) -> bool:
    return not in_outbox


def row_has_any_attempt(row: State | None, op_id: str, version: int) -> bool:
    return row is not None and (version <= row.floor or any(op.op_id == op_id for op in row.ops))


def replay_is_kafka(*, in_outbox: bool) -> Durability:
    return Durability.KAFKA


def publish_late(_gateway: Gateway, flight: Flight) -> bool:
    return protocol.publish_allowed(flight.backlog, TIMING)


def commit_all(worker: Worker) -> int:
    return worker.position


def noted_without_merges(
    state: State, op: Operation, _noted: Callable[[State, Operation], State] = states.noted
) -> State:
    known = _noted(state, op)
    return msgspec.structs.replace(known, claim=state.claim, merged_into=state.merged_into)


def subtract_by_version(folded: State | None, delta: Delta) -> bool:
    unnamed = [
        msgspec.structs.replace(step, attempts=()) if isinstance(step, Withdrawal) else step for step in delta
    ]
    return _may_subtract(folded, tuple(unnamed))


def trim_idle_at_once(state: State, at_us: int, timing: Timing) -> State:
    return _trim_idle(state, at_us + timing.window_us, timing)


def window_of_nothing(state: State) -> list[tuple[int, str]]:
    return [(op.version, op.op_id) for op in state.ops]


def trim_any(state: State | None, step: Trim, timing: Timing) -> Outcome:
    if state is None:
        return Outcome(state, Verdict.KNOWN)
    newest = state.version_number
    if newest > 2 * (step.at - timing.window_us) or not state.ops:
        return Outcome(state, Verdict.KNOWN)
    return Outcome(states._left(state, len(state.ops), newest), Verdict.CHANGED)


def keep_first_of_equals(kept: Recorded | None, read: Recorded) -> Recorded:
    if (
        kept is not None
        and not isinstance(read, Deleted)
        and protocol.rank(kept.version) == protocol.rank(read.version)
    ):
        return kept
    return _keep_recovered(kept, read)
