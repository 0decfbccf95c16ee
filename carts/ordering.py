"""What a checkout decides: what is ordered, whether it may be, and what the order takes out of the cart.

An order buys the lines of a *snapshot*, a state of the folded cart. Its *subtraction* then takes exactly the
ordered quantities out of the cart, even if the cart has changed since: quantities added later stay, and a
line that a later set or remove has decided is left alone.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from carts.content import EMPTY, Content, apply, shown
from carts.limits import TIMING, Timing
from carts.operations import Attempt, Delta, Operation, OrderedLine, Subtract, Withdrawal
from carts.state import (
    State,
    effective,
    made_by_the_fold,
    noted,
    ordered,
    overrule,
    trim,
    uncovered,
    union,
)

_Withdrawal = TypeVar("_Withdrawal", bound=Withdrawal)


def lines_to_order(state: State) -> tuple[OrderedLine, ...]:
    """Every line that the cart shows, oldest first, with the version that decided it."""
    content = state.content()
    return tuple(
        OrderedLine(line_id, line.quantity, max(line.decided_version, content.cleared_version))
        for line_id, line in shown(content)
    )


def rebase(lines: Iterable[OrderedLine], snapshot: State) -> tuple[OrderedLine, ...]:
    """Lines of an earlier snapshot, limited to what a later `snapshot` still has of them.

    An external checkout may be completed late. A line that a set or remove has decided meanwhile is left out,
    and a quantity is at most what the cart still has. So no two orders take the same quantity out, and none
    takes out what is not there.
    """
    content = snapshot.content()
    kept = []
    for sold in lines:
        line = content.lines.get(sold.line_id)
        if line is None or _decided(content, sold.line_id) > sold.decided_version:
            continue
        quantity = min(sold.quantity, line.quantity)
        if quantity > 0:
            kept.append(msgspec.structs.replace(sold, quantity=quantity))
    return tuple(kept)


def subtraction(order_id: str, lines: Iterable[OrderedLine], snapshot: State) -> Delta:
    """The change that takes an order's lines, ordered from `snapshot`, out of the cart."""
    return (Subtract(tuple(lines), counted_attempts(snapshot), snapshot.version_number, order_id),)


def counted_attempts(snapshot: State) -> tuple[Attempt, ...]:
    """Under which version a snapshot has counted each operation that may be asked for again."""
    return tuple(Attempt(op.op_id, op.version) for op in effective(snapshot.ops) if not made_by_the_fold(op))


def knows_order(state: State, snapshot_version: int) -> bool:
    """Whether the cart has the subtraction of the order that was made from the snapshot of that version.

    Or began after the cart of that snapshot was deleted. Each order is made from a snapshot that knows the
    one before (`may_follow`), so its version is above that of every order before: a cart that knows an order
    knows these, too.
    """
    return snapshot_version <= max(state.newest_order, state.start)


def may_follow(snapshot: State, latest_snapshot_version: int) -> bool:
    """Whether a snapshot may be ordered: it must know the cart's latest order, or it buys the same again.

    If it does not, subtract that order first and take a new snapshot.
    """
    return knows_order(snapshot, latest_snapshot_version)


def may_subtract(folded: State | None, delta: Delta) -> bool:
    """Whether an order may be subtracted from this record of its cart; what takes nothing out always may.

    Not without a record, and not from an expired cart: a late write may revive it, a deletion ends it. Not
    from a record that is behind the order's snapshot: it lacks quantities that would be taken out.
    """
    withdrawals = [step for step in delta if isinstance(step, Withdrawal)]
    if not withdrawals:
        return True
    if folded is None or folded.expired:
        return False
    return all(
        folded.version_number >= step.snapshot_version
        # A record of the same version may be older: the operations of a cart do not arrive in order.
        and not uncovered(folded, ((attempt.version, attempt.op_id) for attempt in step.attempts))
        for step in withdrawals
    )


def is_applied(base: State, op_id: str, delta: Delta) -> bool:
    """Whether the cart has this operation of an order or a merge."""
    return base.remembers(op_id, delta) or any(op.op_id == op_id for op in base.ops)


def subtraction_base(folded: State, copy: State | None) -> State:
    """What an order is subtracted from: the folded cart with the operations of Redis's copy above its floor.

    `copy` needs no base. The copy alone is not enough: it may have fallen back to a time before the ordered
    quantities were added. If an order's first subtraction has left the folded window, the order is known, and
    a subtraction of it in the copy is a further attempt that does not count. The same goes for transfers.
    """
    if copy is None:
        return folded
    entries = {op.op_id for op in folded.ops}
    ops = tuple(op for op in copy.ops if op.op_id in entries or not folded.remembers(op.op_id, op.delta))
    return union(
        folded,
        msgspec.structs.replace(copy, base=EMPTY, ops=ops, floor=0, start=0, trimmed=0, trimmed_digest=0),
    )


def may_unite(folded: State, copy: State | None) -> bool:
    """Whether the folded cart and Redis's copy may be united for a subtraction: the union hides nothing.

    Not if the folded cart is behind the copy and lacks some of what has left the copy's window: that is in
    the copy's base alone, which the union does not have. Operations are counted, not compared: `copy` needs
    no base, but `trimmed`. A folded cart that is as new as the copy is enough: what the copy has besides may
    never be folded.
    """
    if copy is None or copy.floor <= folded.floor or copy.version_number <= folded.version_number:
        return True
    known = folded.trimmed + sum(op.version <= copy.floor for op in folded.ops)
    return known >= copy.trimmed


def leaving(base: State, version: int, timing: Timing = TIMING) -> int:
    """The version up to which attempts may have left the window by the time a subtraction is folded.

    `version` is the subtraction's. A later write may be folded before it, but it is later by the publish
    deadline at most.
    """
    return max(base.floor, version - 2 * timing.window_us + 4 * timing.publish_deadline_us)


def renewed(delta: Delta, base: State, version: int, left: int) -> Delta:
    """An order's subtraction, adapted to `base` at `version`, perhaps long after the order was placed.

    An attempt that the snapshot counted has left the window if it is at or below `left`. If its operation has
    a newer attempt in `base`, that one counts instead: the subtraction then names the newer one, and takes
    out what it has put in. From a line that was decided since the order, it takes out only what the newer
    attempt has added on top.
    """
    return tuple(
        _renewed(step, base, version, left) if isinstance(step, Withdrawal) else step for step in delta
    )


def _renewed(step: _Withdrawal, base: State, version: int, left: int) -> _Withdrawal:
    gone = {attempt.op_id: attempt.version for attempt in step.attempts if attempt.version <= left}
    counted = [op for op in effective(base.ops) if op.version < version]
    again = {op.op_id: op.version for op in counted if op.version > gone.get(op.op_id, op.version)}
    if not again:
        return step
    attempts = tuple(
        msgspec.structs.replace(attempt, version=again.get(attempt.op_id, attempt.version))
        for attempt in step.attempts
    )
    lines = _renewed_lines(
        step.lines,
        apply(base.base, counted, base.start),
        apply(base.base, [op for op in counted if op.op_id not in again], base.start),
    )
    return msgspec.structs.replace(step, lines=lines, attempts=attempts)


def _renewed_lines(
    lines: Iterable[OrderedLine], content: Content, without: Content
) -> tuple[OrderedLine, ...]:
    """The lines of an order; `without` is the content without the operations that have a newer attempt."""
    renewed_lines = (_renewed_line(line, content, without) for line in lines)
    return tuple(line for line in renewed_lines if line.quantity > 0)


def _renewed_line(line: OrderedLine, content: Content, without: Content) -> OrderedLine:
    now, before = _quantity(content, line.line_id), _quantity(without, line.line_id)
    decided, decided_before = _decided(content, line.line_id), _decided(without, line.line_id)
    if (now, decided) == (before, decided_before):
        return line
    most = now - before if decided_before > line.decided_version else now
    return OrderedLine(line.line_id, max(0, min(line.quantity, most)), decided)


def subtracted(base: State, operation: Operation, timing: Timing = TIMING) -> State:
    """`base` with `operation`, of an order or a merge, whose version is above all of its operations."""
    after = msgspec.structs.replace(
        noted(base, operation),
        ops=overrule(ordered((*base.ops, operation))),
        born=base.born or operation.version,
    )
    return trim(after, timing)


def _quantity(content: Content, line_id: str) -> int:
    line = content.lines.get(line_id)
    return line.quantity if line is not None else 0


def _decided(content: Content, line_id: str) -> int:
    """The version of the last set, remove or clear that has decided a line."""
    line = content.lines.get(line_id)
    return max(line.decided_version, content.cleared_version) if line is not None else content.cleared_version
