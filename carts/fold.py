"""Fold a change into its cart. Late, duplicate and reordered deliveries fold to the same state."""

from enum import StrEnum
from typing import Final, get_args

import msgspec

from carts.limits import TIMING, Timing
from carts.operations import (
    DUPLICATE,
    VOID,
    Change,
    Erase,
    Expire,
    FoldedStep,
    Operation,
    Purge,
    Seed,
    Subtract,
    Trim,
    Withdrawal,
)
from carts.ordering import renewed
from carts.state import (
    EXPIRY_PREFIX,
    VOID_PREFIX,
    State,
    Status,
    erase,
    noted,
    ordered,
    overrule,
    trim,
    trim_idle,
    union,
)

_FOLDED_KINDS: Final = get_args(FoldedStep)


class Verdict(StrEnum):
    """What a change did to its cart."""

    CHANGED = "changed"
    KNOWN = "known"
    BELOW_FLOOR = "below_floor"
    REFUSED = "refused"
    DELETED = "deleted"
    UNSUPPORTED = "unsupported"


class Outcome(msgspec.Struct, frozen=True):
    """The state after a change (none: no such cart) and what the change did."""

    state: State | None
    verdict: Verdict


def fold(
    state: State | None,
    change: Change,
    *,
    purge_floor: int = 0,
    retention_us: int = 0,
    timing: Timing = TIMING,
) -> Outcome:
    """Fold `change` into `state`; the state is unchanged unless the verdict says so.

    `purge_floor` is the highest version ever deleted in the partition: nothing at or below it comes back.
    `retention_us` is how long a cart stays expired before a purge may delete it.
    """
    match change.delta:
        case (Expire() as step,):
            return _expire(state, step)
        case (Purge() as step,):
            return _purge(state, step, retention_us)
        case (Trim() as step,):
            return _trim(state, step, timing)
        case (Erase(),):
            return _erase(state, change, purge_floor)
        case (Seed() as step,):
            return _seed(state, step, purge_floor, timing)
        case _:
            return _fold_write(state, change, purge_floor, timing)


def _fold_write(state: State | None, change: Change, purge_floor: int, timing: Timing) -> Outcome:
    if not _foldable(change):
        return Outcome(state, Verdict.UNSUPPORTED)
    if state is None:
        if change.version <= purge_floor:
            return Outcome(None, Verdict.REFUSED)
        state = State(floor=purge_floor, start=purge_floor)
    return _write(state, change, timing)


def _foldable(change: Change) -> bool:
    if change.op_id.startswith((EXPIRY_PREFIX, VOID_PREFIX)):
        return False  # only the fold itself makes expiries and voids
    return bool(change.delta) and all(isinstance(step, _FOLDED_KINDS) for step in change.delta)


def _write(state: State, change: Change, timing: Timing) -> Outcome:
    if change.version <= state.floor:
        return Outcome(state, Verdict.BELOW_FLOOR)
    attempts = [op for op in state.ops if op.op_id == change.op_id]
    first = next((op for op in attempts if op.delta != DUPLICATE), None)
    is_order = any(isinstance(step, Subtract) for step in change.delta)
    # Of what is no order an overruled attempt is in the window on its own only until the first one comes.
    is_lacking = first is None if is_order else not attempts
    is_remembered = is_lacking and state.remembers(change.op_id, change.delta)
    if is_remembered and not is_order:
        return Outcome(state, Verdict.KNOWN)
    ops = [*state.ops, *([] if is_remembered else _voids(state, change))]
    if not any(op.version == change.version for op in attempts):
        if is_remembered:
            # A further attempt of an order that has left the window: known, so that Redis's copy is covered.
            first = msgspec.structs.replace(change.operation(), delta=DUPLICATE)
        elif first is None:
            first = _brought_up(state, change)
        ops.append(msgspec.structs.replace(first, version=change.version))
    elif len(ops) == len(state.ops):
        return Outcome(state, Verdict.KNOWN)
    folded = msgspec.structs.replace(
        noted(state, change.operation()),
        ops=overrule(ordered(ops)),
        born=min(state.born, change.version) if state.born else change.version,
    )
    return Outcome(trim(folded, timing), Verdict.CHANGED)


def _brought_up(state: State, change: Change) -> Operation:
    """The entry of a change. What takes pieces out was decided on an older cart and is brought up to this."""
    entry = change.operation()
    if not any(isinstance(step, Withdrawal) for step in change.delta):
        return entry
    return msgspec.structs.replace(entry, delta=renewed(entry.delta, state, change.version, state.floor))


def _voids(state: State, change: Change) -> list[Operation]:
    """The voids of expiries that this write did not know of and that did not know of it."""
    if change.previous_version is None:
        return []
    expiries = [op for op in state.ops if op.op_id.startswith(EXPIRY_PREFIX)]
    if not expiries:
        return []
    voided = {op.op_id[len(VOID_PREFIX) :] for op in state.ops if op.op_id.startswith(VOID_PREFIX)}
    voids = []
    for op in expiries:
        if op.op_id[len(EXPIRY_PREFIX) :] in voided:
            continue
        expiry = op.delta[0]
        if isinstance(expiry, Expire) and (
            change.previous_version == expiry.seen
            or (change.version > expiry.seen and change.previous_version < op.version)
        ):
            voids.append(Operation(op.version, VOID_PREFIX + op.op_id[len(EXPIRY_PREFIX) :], "", VOID))
    return voids


def _expire(state: State | None, step: Expire) -> Outcome:
    if state is None or state.expired or _seen(state) != (step.seen, step.seen_operation_count):
        return Outcome(state, Verdict.KNOWN)
    highest = state.version_number
    v = max(highest + 1 + highest % 2, 2 * step.at + 1)
    entry = Operation(v, f"{EXPIRY_PREFIX}{step.seen}-{step.seen_operation_count}", "", (step,))
    return Outcome(msgspec.structs.replace(state, ops=ordered([*state.ops, entry])), Verdict.CHANGED)


def _purge(state: State | None, step: Purge, retention_us: int) -> Outcome:
    if state is None or not state.expired or _seen(state) != (step.seen, step.seen_operation_count):
        return Outcome(state, Verdict.KNOWN)
    if 2 * step.at - state.version_number < 2 * retention_us:
        return Outcome(state, Verdict.KNOWN)
    return Outcome(None, Verdict.DELETED)


def _trim(state: State | None, step: Trim, timing: Timing) -> Outcome:
    if state is None or state.status is not Status.ACTIVE:
        return Outcome(state, Verdict.KNOWN)
    trimmed = trim_idle(state, step.at, timing)
    return Outcome(trimmed, Verdict.KNOWN if trimmed is state else Verdict.CHANGED)


def _erase(state: State | None, change: Change, purge_floor: int) -> Outcome:
    if change.version <= (state.erased if state is not None else purge_floor):
        return Outcome(state, Verdict.KNOWN)  # done before, or the cart has been deleted since
    erased = erase(state or State(floor=purge_floor, start=purge_floor), change.operation())
    return Outcome(erased, Verdict.CHANGED)


def _seed(state: State | None, step: Seed, purge_floor: int, timing: Timing) -> Outcome:
    try:
        seed = msgspec.convert(step.state, State)
    except msgspec.ValidationError:
        return Outcome(state, Verdict.UNSUPPORTED)
    if state is None and seed.version_number <= purge_floor:
        return Outcome(None, Verdict.REFUSED)
    united = trim(union(state or seed, seed), timing)
    return Outcome(united, Verdict.KNOWN if united == state else Verdict.CHANGED)


def _seen(state: State) -> tuple[int, int]:
    return state.version_number, state.operation_count
