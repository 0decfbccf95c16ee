"""What a checkout decides: what is ordered, whether it may be, and what the order takes out of the cart.

An order buys the lines of a *snapshot*, a state of the folded cart. Its *subtraction* then takes just these
pieces out of the cart, however the cart has moved on meanwhile: pieces added since stay, a line that a set or
remove has decided since is left alone.
"""

from collections.abc import Iterable

import msgspec

from carts.content import EMPTY, Content, apply, shown
from carts.limits import TIMING, Timing
from carts.operations import Attempt, Delta, Operation, OrderedLine, Subtract
from carts.state import State, effective, ordered, overrule, trim, union, united_orders


def lines_to_order(state: State) -> tuple[OrderedLine, ...]:
    """Every line shown, oldest first, with the version that decided it."""
    content = state.content()
    return tuple(
        OrderedLine(line_id, line.quantity, max(line.decided_version, content.cleared_version))
        for line_id, line in shown(content)
    )


def rebase(lines: Iterable[OrderedLine], snapshot: State) -> tuple[OrderedLine, ...]:
    """What a later snapshot still has of lines that an earlier one had, as it may be ordered from the later.

    Whoever keeps the orders elsewhere completes a checkout when it likes. A line that a set or remove has
    decided meanwhile is left out, of the others there are at most as many pieces as the cart still has. So no
    two orders take the same piece, and none takes what is not there.
    """
    content = snapshot.content()
    kept = []
    for asked in lines:
        line = content.lines.get(asked.line_id)
        if line is None or _decided(content, asked.line_id) > asked.decided_version:
            continue
        quantity = min(asked.quantity, line.quantity)
        if quantity > 0:
            kept.append(msgspec.structs.replace(asked, quantity=quantity))
    return tuple(kept)


def subtraction(order_id: str, lines: Iterable[OrderedLine], snapshot: State) -> Delta:
    """The change that takes an order's lines, bought from `snapshot`, out of the cart."""
    attempts = tuple(
        Attempt(op.op_id, op.version) for op in effective(snapshot.ops) if not op.op_id.startswith("!")
    )
    return (Subtract(order_id, tuple(lines), attempts, snapshot.version_number),)


def knows_order(state: State, order_id: str, sv: int) -> bool:
    """Whether the cart has the order's subtraction, or was born after the cart that was ordered at `sv`."""
    return order_id in state.orders or sv <= state.start


def may_follow(snapshot: State, latest_order_id: str, latest_sv: int) -> bool:
    """Whether a snapshot may be ordered: it must know the cart's latest order, or it buys the same again.

    If not, subtract that order first and take a new snapshot.
    """
    return knows_order(snapshot, latest_order_id, latest_sv)


def may_subtract(folded: State | None, delta: Delta) -> bool:
    """Whether an order may be subtracted from this record of its cart.

    Not without one or from an expired one: a write that knew nothing of the expiry revives the cart, a
    deletion ends it. Not from one that is behind what was ordered: it lacks pieces that would be taken out.
    """
    if folded is None or folded.expired:
        return False
    return all(folded.version_number >= step.snapshot_version for step in delta if isinstance(step, Subtract))


def subtraction_base(folded: State, copy: State | None) -> State:
    """What an order is subtracted from: the folded cart, and of Redis's copy every operation above its floor.

    `copy` needs no base. On Redis's copy alone a subtraction fails: it may have fallen back to a time before
    the pieces that were ordered. An order whose first subtraction has left the folded window is known: the
    copy's is one more, and does not count.
    """
    if copy is None:
        return folded
    entries = {op.op_id for op in folded.ops}
    ops = tuple(op for op in copy.ops if op.op_id in entries or op.op_id not in folded.orders)
    return union(
        folded,
        msgspec.structs.replace(copy, base=EMPTY, ops=ops, floor=0, start=0, trimmed=0, trimmed_digest=0),
    )


def leaving(base: State, v: int, timing: Timing = TIMING) -> int:
    """The version up to which attempts may have left the window wherever a subtraction at `v` is folded.

    A write later than the subtraction may be folded before it, but only by the publish deadline.
    """
    return max(base.floor, v - 2 * timing.window_us + 4 * timing.publish_deadline_us)


def renewed(delta: Delta, base: State, v: int, left: int) -> Delta:
    """An order's subtraction as it is right for `base` at `v`, perhaps long after the order was placed.

    An attempt that the snapshot counted has left the window if it is at or below `left`. If its operation was
    born again, it has left for nothing, for the newest attempt counts: so the subtraction names that one, and
    takes out what it put in. Of a line that somebody else has decided since it takes out only what the new
    attempt has put on top.
    """
    return tuple(_renewed(step, base, v, left) if isinstance(step, Subtract) else step for step in delta)


def _renewed(step: Subtract, base: State, v: int, left: int) -> Subtract:
    gone = {attempt.op_id: attempt.version for attempt in step.attempts if attempt.version <= left}
    counted = [op for op in effective(base.ops) if op.version < v]
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
    """The lines of an order; `without` is the content without the operations that were born again."""
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
    """`base` with the subtraction `operation`, whose v is above all of it."""
    after = msgspec.structs.replace(
        base,
        ops=overrule(ordered((*base.ops, operation))),
        born=base.born or operation.version,
        orders=united_orders(base.orders, {operation.op_id: operation.version}),
    )
    return trim(after, timing)


def _quantity(content: Content, line_id: str) -> int:
    line = content.lines.get(line_id)
    return line.quantity if line is not None else 0


def _decided(content: Content, line_id: str) -> int:
    """The version of the last set, remove or clear that has decided a line."""
    line = content.lines.get(line_id)
    return max(line.decided_version, content.cleared_version) if line is not None else content.cleared_version
