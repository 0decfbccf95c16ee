"""The arithmetic of a cart, worked out from the clients' requests and the orders, and from nothing else."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from carts.operations import Change, Subtract
from tests.faults.history import Add, Clear, Command, Detail, Note, Record, Remove, Set, writes
from tests.faults.stores import Stores


class Taken(msgspec.Struct, frozen=True):
    """What an order takes out of its cart: pieces by line, and by line what had last decided it by then."""

    pieces: Mapping[str, int]
    decided: Mapping[str, int]


Deed = Sequence[Command] | Taken
"""What was done to a cart at once."""


def expected_lines(done: Iterable[tuple[int, Deed]]) -> dict[str, int]:
    """What a cart holds after these deeds, in this order; each has a version.

    An order leaves a line alone that was set, removed or cleared after it was ordered.
    """
    cart = _Cart()
    for version, deed in done:
        if isinstance(deed, Taken):
            cart.take(deed)
        else:
            for command in deed:
                cart.apply(version, command)
    return cart.lines


class _Cart:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._decided: dict[str, int] = {}
        self._cleared = 0

    def take(self, order: Taken) -> None:
        for line_id, pieces in order.pieces.items():
            if max(self._decided.get(line_id, 0), self._cleared) <= order.decided.get(line_id, 0):
                self.lines[line_id] = self.lines.get(line_id, 0) - pieces

    def apply(self, version: int, command: Command) -> None:
        match command:
            case Add():
                self.lines[command.line_id] = self.lines.get(command.line_id, 0) + command.quantity
            case Set():
                self.lines[command.line_id] = command.quantity
                self._decided[command.line_id] = version
            case Remove():
                self.lines.pop(command.line_id, None)
                self._decided[command.line_id] = version
            case Clear():
                self.lines.clear()
                self._cleared = version
            case Note() | Detail():
                pass


def deeds(history: Sequence[Record], stores: Stores) -> dict[str, list[tuple[int, Deed]]]:
    """By cart what was done to it, in version order, as `cart-changed` tells it.

    Of an operation's attempts the last one counts, up to the one that an order has counted.
    """
    known: dict[tuple[str, str | None], Deed] = {
        (operation.cart_id, operation.key): operation.commands for operation in writes(history)
    }
    bought = {(order.cart_id, order.order_id): order.lines() for order in stores.sales.orders}
    attempts: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for record in stores.published:
        change = record.change
        attempts[change.cart_id][change.op_id].add(change.version)
        pieces = bought.get((change.cart_id, change.op_id))
        for step in _subtractions(change):
            for attempt in step.attempts:
                named = counted[change.cart_id]
                named[attempt.op_id] = min(attempt.version, named.get(attempt.op_id, attempt.version))
            if pieces is not None:
                taken = Taken(pieces, {line.line_id: line.decided_version for line in step.lines})
                # A second attempt has the first one's say.
                known.setdefault((change.cart_id, change.op_id), taken)
    return {
        cart_id: sorted(
            (
                (version, known[cart_id, op_id])
                for op_id, version in _last(born, counted[cart_id])
                if (cart_id, op_id) in known
            ),
            key=lambda done: done[0],
        )
        for cart_id, born in attempts.items()
    }


def _last(born: Mapping[str, set[int]], counted: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    for op_id, versions in born.items():
        bound = counted.get(op_id)
        effective = [version for version in versions if bound is None or version <= bound]
        if effective:
            yield op_id, max(effective)


def _subtractions(change: Change) -> list[Subtract]:
    return [step for step in change.delta if isinstance(step, Subtract)]
