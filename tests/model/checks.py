"""What must hold when everything has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from carts import content as contents
from carts import fold as folding
from carts.content import EMPTY
from carts.fold import Verdict
from carts.operations import (
    Add,
    Attempt,
    Change,
    Clear,
    Erase,
    Expire,
    Operation,
    Purge,
    Step,
    Subtract,
    Trim,
    Withdrawal,
)
from carts.protocol import too_stale
from carts.state import State
from tests.model.sinks import folded, seen_copy
from tests.model.world import RETENTION, STALE, TIMING, Shown, World, lines_of, quantities, seen

if TYPE_CHECKING:
    from tests.model.run import History


class Broken(AssertionError):
    """A promise is broken."""


class Truth(msgspec.Struct):
    """What the records in the log say, worked out without windows, floors and bases."""

    lines: Shown
    operations: set[str]
    deleted: set[str]
    dropped: set[tuple[int, str]]
    """The (v, op_id) in the log that it did not take: below the floor (a known limit, if only Redis had
    acknowledged them), deleted or skipped."""


def judge(history: History) -> None:
    """Raise Broken for the first promise that the history breaks."""
    world, table = history.world, history.compaction.owner.table
    changes = judge_topics(history)
    truth = truth_of(world, changes)
    _content_is_true(world, table, truth)
    if world.falls and not truth.dropped:
        raise Broken(f"version falls in Redis: {world.falls[0]}")
    _nothing_acknowledged_is_lost(history, truth)
    _ordered_once(history, table)
    _nothing_erased_is_left(history, table)
    stores_agree(history, table)


def judge_topics(history: History) -> list[Change]:
    """Raise Broken where table and topics differ; the changes that made the cart, in the order of folding."""
    world = history.world
    if world.problems:
        raise Broken(world.problems[0])
    _versions_are_unique(world)
    table = history.compaction.owner.table
    if world.last_state() != table:
        raise Broken("carts holds another state than the table")
    compaction = history.compaction
    changes = [world.log[position] for position in compaction.lineages[compaction.owner.known]]
    if table != (expected := folded(changes)):
        raise Broken(f"the table {table} is not the fold of the log {expected}")
    return changes


def _versions_are_unique(world: World) -> None:
    versions = [v for v in world.acknowledged.values() if v]
    if not world.traits.skewed and len(versions) != len(set(versions)):
        raise Broken("two acknowledged changes share a version")


def _content_is_true(world: World, table: State | None, truth: Truth) -> None:
    lines = lines_of(table) if table is not None else ()
    if lines != truth.lines:
        times = times_applied(world, lines), times_applied(world, truth.lines)
        for op_id in world.asked:
            if times[0].get(op_id, 0) > max(1, times[1].get(op_id, 0)):
                raise Broken(f"{op_id} is applied {times[0][op_id]} times")
        raise Broken(f"the cart {lines} is not the changes in version order {truth.lines}")


def times_applied(world: World, lines: Shown) -> dict[str, int]:
    """How often each operation is in line x, where all of them only add (powers of four)."""
    steps = [step for asked in world.asked.values() for step in asked.delta]
    if not all(isinstance(step, Add) and step.line_id == "x" for step in steps):
        return {}
    quantity = dict(lines).get("x", 0)
    return {op_id: quantity // 4**position % 4 for position, op_id in enumerate(world.asked)}


def _nothing_acknowledged_is_lost(history: History, truth: Truth) -> None:
    world = history.world
    is_whole = not (world.traits.deletes or world.traits.skips or world.traits.erases)
    if not world.outbox_was_lost and is_whole:
        for op_id in sorted(world.applied - truth.operations):
            raise Broken(f"{op_id} is lost, though Redis never lost its outbox")
    for op_id in world.acknowledged:
        if op_id not in truth.operations | truth.deleted and not _lost_to_a_known_limit(
            history, truth, op_id
        ):
            raise Broken(f"acknowledged {op_id} is lost")
    table = history.compaction.owner.table
    if is_whole and table is not None and not history.checkout.orders:
        for op_id, times in times_applied(world, lines_of(table)).items():
            if (
                op_id in world.acknowledged
                and times != 1
                and not any(isinstance(c.delta[0], Expire) for c in world.log)
            ):
                raise Broken(f"acknowledged {op_id} is in the cart {times} times")


def _ordered_once(history: History, table: State | None) -> None:
    """No negative lines; where clients only add, each operation is in the cart or in one order, once."""
    world, orders = history.world, history.checkout.orders
    lines = lines_of(table) if table is not None else ()
    if any(quantity < 0 for _, quantity in lines):
        raise Broken(f"the cart {lines} has a negative line")
    if len({order.key for order in orders}) != len(orders):
        raise Broken("two orders for one key")
    if not orders or world.traits.deletes or any(isinstance(c.delta[0], Expire | Erase) for c in world.log):
        return
    if table is not None and too_stale(table.version_number, world.now, STALE):
        return  # its cart may have been deleted: an order waits
    total = dict(lines).get("x", 0)
    total += sum(line.quantity for order in orders for line in order.lines if line.line_id == "x")
    for op_id, times in times_applied(world, (("x", total),)).items():
        if times > 1 or (op_id in world.acknowledged and times != 1):
            raise Broken(f"{op_id} is {times} times in cart and orders")


def _lost_to_a_known_limit(history: History, truth: Truth, op_id: str) -> bool:
    """A record that a bug skipped is healed only while Redis holds the operation and it is young enough."""
    world = history.world
    if not world.traits.skips:
        return False
    skipped = any(world.log[position].op_id == op_id for position in history.compaction.skipped)
    born = min((change.version for change in world.log if change.op_id == op_id), default=0)
    late = 2 * world.now - born > 2 * (republishable_for() - 20)
    dropped = op_id in {dropped_id for _, dropped_id in truth.dropped}
    return (dropped or skipped) and (world.outbox_was_lost or world.cart_was_evicted or late)


def _nothing_erased_is_left(history: History, table: State | None) -> None:
    """No store has anything of an erased cart that is not newer: neither in a window nor in a base."""
    erased = table.erased if table is not None else 0
    copy = history.world.redis.cart
    windows = {
        "the table": table.ops if table is not None else (),
        "the row": history.world.row.ops if history.world.row is not None else (),
        "Redis": copy.known.ops if copy is not None else (),
    }
    for store, window in windows.items():
        if any(op.version <= erased and op.delta != (Erase(),) for op in window):
            raise Broken(f"{store} still has what was erased")
    if table is not None and any(line.added_version <= erased for line in table.base.lines.values()):
        raise Broken("the base still has what was erased")


def republishable_for() -> int:
    """How long anti-entropy may publish an operation again."""
    return (
        TIMING.window_us - TIMING.retry_horizon_us - TIMING.publish_deadline_us - TIMING.republish_margin_us
    )


def stores_agree(history: History, table: State | None) -> None:
    """Raise Broken where Redis or Postgres shows something else than the table."""
    world = history.world
    if not world.redis.ready:
        raise Broken("Redis is not ready")
    copy = seen_copy(world.redis.cart)
    if world.redis.cart is None or world.redis.cart.version.number < 2 * (world.now - STALE):
        copy = seen(world.row)
    if copy != seen(table) and not _skipped_too_long_ago(history):
        raise Broken(f"Redis {copy} is not carts {seen(table)}")
    if seen(world.row) != seen(table):
        raise Broken(f"Postgres {seen(world.row)} is not carts {seen(table)}")


def _skipped_too_long_ago(history: History) -> bool:
    """A skipped record too old for anti-entropy is left to an alarm: Redis may keep it."""
    world = history.world
    return any(
        2 * world.now - world.log[position].version > 2 * (republishable_for() - 4)
        for position in history.compaction.skipped
    )


def truth_of(world: World, changes: list[Change]) -> Truth:
    """The truth of the changes that made the table, in the order they were folded.

    The fold is only asked which changes it took, what version an expiry got and what it made of an order that
    came late; everything else is decided here by version order over all operations ever.
    """
    state: State | None = None
    floor = start = 0
    writes: dict[str, list[Operation]] = {}
    expiries: dict[int, Operation] = {}
    voided: set[int] = set()
    deleted: set[str] = set()
    erased = 0
    taken: set[tuple[int, str]] = set()
    for change in changes:
        outcome = folding.fold(state, change, purge_floor=floor, retention_us=RETENTION, timing=TIMING)
        match change.delta:
            case (Purge(),):
                if outcome.verdict is Verdict.DELETED and state is not None:
                    floor = start = max(floor, state.version_number)
                    deleted |= set(writes)
                    writes, expiries, voided = {}, {}, set()
            case (Trim(),):
                pass
            case (Erase(),):
                if outcome.verdict is Verdict.CHANGED:
                    erased = max(change.version - 1, state.floor if state is not None else 0)
                    deleted |= {each.op_id for each in world.log if each.version <= erased}
                    writes = _newer(writes, erased)
            case (Expire() as step,):
                if outcome.verdict is Verdict.CHANGED and outcome.state is not None:
                    expiries[step.seen] = next(op for op in outcome.state.ops if op.delta == change.delta)
            case _:
                taken.add((change.version, change.op_id))
                attempts = writes.setdefault(change.op_id, [])
                left = state.floor if state is not None else 0
                if not _is_ordered_again(change, attempts, left):
                    first = attempts[0] if attempts else _that_counts(change, writes, left, outcome.state)
                    attempts.append(msgspec.structs.replace(first, version=change.version))
                window = {op.version for op in state.ops} if state is not None else set()
                voided |= {
                    expiry.version
                    for expiry in expiries.values()
                    if expiry.version in window and unknown_to_each_other(change, expiry)
                }
        state = outcome.state
    counted = [
        *_attempts_that_count(writes),
        *(each for each in expiries.values() if each.version not in voided),
        Operation(erased, "!erase", "", (Clear(),)),
    ]
    counted.sort(key=lambda operation: (operation.version, operation.op_id))
    lines = quantities(contents.apply(EMPTY, counted, start))
    sent = {(change.version, change.op_id) for change in world.log if not change.op_id.startswith("!")}
    return Truth(lines, set(writes), deleted, sent - taken)


def _newer(writes: dict[str, list[Operation]], version: int) -> dict[str, list[Operation]]:
    """What was written after `version`, of each operation the attempts."""
    newer = {
        op_id: [attempt for attempt in attempts if attempt.version > version]
        for op_id, attempts in writes.items()
    }
    return {op_id: attempts for op_id, attempts in newer.items() if attempts}


def _is_ordered_again(change: Change, attempts: list[Operation], floor: int) -> bool:
    """Whether it is an order once more, whose subtraction has left the window: that counts, not this."""
    is_order = any(isinstance(step, Subtract) for step in change.delta)
    return is_order and bool(attempts) and all(attempt.version <= floor for attempt in attempts)


def _that_counts(
    change: Change, writes: dict[str, list[Operation]], floor: int, folded_to: State | None
) -> Operation:
    """The operation of a change. Of an order, what the fold made of it; what has left the window stays."""
    operation = change.operation()
    if not any(isinstance(step, Withdrawal) for step in change.delta):
        return operation
    window = folded_to.ops if folded_to is not None else ()
    operation = next(
        (op for op in window if (op.version, op.op_id) == (change.version, change.op_id)), operation
    )
    return msgspec.structs.replace(
        operation, delta=tuple(_late(step, writes, floor) for step in operation.delta)
    )


def _late(step: Step, writes: dict[str, list[Operation]], floor: int) -> Step:
    if not isinstance(step, Withdrawal):
        return step
    left = {
        op_id: [op.version for op in attempts if op.version <= floor] for op_id, attempts in writes.items()
    }
    attempts = tuple(
        Attempt(each.op_id, max([each.version, *left.get(each.op_id, ())])) for each in step.attempts
    )
    return msgspec.structs.replace(step, attempts=attempts)


def _attempts_that_count(writes: dict[str, list[Operation]]) -> list[Operation]:
    """Of each operation the highest attempt, but none above the one that an order has counted."""
    ordered: dict[str, int] = {}
    for attempts in writes.values():
        for step in attempts[0].delta:
            if isinstance(step, Withdrawal):
                for attempt in step.attempts:
                    ordered[attempt.op_id] = min(attempt.version, ordered.get(attempt.op_id, attempt.version))
    counted = []
    for op_id, attempts in writes.items():
        counting = [attempt for attempt in attempts if attempt.version <= ordered.get(op_id, attempt.version)]
        if counting:
            counted.append(max(counting, key=lambda attempt: attempt.version))
    return counted


def unknown_to_each_other(change: Change, expiry: Operation) -> bool:
    """Whether the write did not know of the expiry, nor the expiry of the write: by the clocks of both."""
    (step,) = expiry.delta
    assert isinstance(step, Expire)
    return (
        change.previous_version is not None
        and change.version > step.seen
        and change.previous_version < max(expiry.version, 2 * step.at)
    )
