"""The arithmetic of a cart, worked out from the clients' requests and the orders, and from nothing else."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from carts.operations import Change, Erase, Subtract
from tests.faults.history import Add, Clear, Command, Detail, Note, Record, Remove, Save, Set, writes
from tests.faults.stores import Stores


class Taken(msgspec.Struct, frozen=True):
    """What an order takes out of its cart: pieces by line, and by line what had last decided it by then."""

    pieces: Mapping[str, int]
    decided: Mapping[str, int]


class Forgotten(msgspec.Struct, frozen=True):
    """The cart was erased."""


Deed = Sequence[Command] | Taken | Forgotten
"""What was done to a cart at once."""


class Contents(msgspec.Struct):
    """What a cart holds: pieces by line, metadata, e-mail, pieces saved for later by line."""

    lines: dict[str, int] = {}
    metadata: dict[str, object] = {}
    email: str | None = None
    saved: dict[str, int] = {}


def expected_lines(done: Iterable[tuple[int, Deed]]) -> dict[str, int]:
    """The lines of `expected_contents`."""
    return expected_contents(done).lines


def expected_contents(done: Iterable[tuple[int, Deed]]) -> Contents:
    """What a cart holds after these deeds, in this order; each has a version.

    An order leaves a line alone that was set, removed or cleared after it was ordered.
    """
    cart = _Cart()
    for version, deed in done:
        match deed:
            case Taken():
                cart.take(deed)
            case Forgotten():
                cart.forget(version)
            case _:
                for command in deed:
                    cart.apply(version, command)
    return cart.contents


class _Cart:
    def __init__(self) -> None:
        self.contents = Contents()
        self._decided: dict[str, int] = {}
        self._cleared = 0

    def take(self, order: Taken) -> None:
        lines = self.contents.lines
        for line_id, pieces in order.pieces.items():
            if max(self._decided.get(line_id, 0), self._cleared) <= order.decided.get(line_id, 0):
                lines[line_id] = lines.get(line_id, 0) - pieces

    def forget(self, version: int) -> None:
        self.contents = Contents()
        # What an order counts afterwards it has found in a cart that was decided just below the erasure.
        self._cleared = version - 1

    def apply(self, version: int, command: Command) -> None:
        lines = self.contents.lines
        match command:
            case Add():
                lines[command.line_id] = lines.get(command.line_id, 0) + command.quantity
            case Set():
                lines[command.line_id] = command.quantity
                self._decided[command.line_id] = version
            case Remove():
                lines.pop(command.line_id, None)
                self._decided[command.line_id] = version
            case Clear():
                lines.clear()
                self._cleared = version
            case Note(text):
                self.contents.metadata = {"note": text}
            case Detail(email):
                self.contents.email = email
            case Save(line_id, 0):
                self.contents.saved.pop(line_id, None)
            case Save(line_id, quantity):
                self.contents.saved[line_id] = quantity


def erased_versions(stores: Stores) -> dict[str, int]:
    """By cart the version up to which it was erased, as `cart-changed` tells it."""
    erased: dict[str, int] = {}
    for record in stores.published:
        change = record.change
        if is_erasure(change):
            erased[change.cart_id] = max(change.version, erased.get(change.cart_id, 0))
    return erased


def is_erasure(change: Change) -> bool:
    """Whether a change makes its cart forget what it has held."""
    return any(isinstance(step, Erase) for step in change.delta)


def deeds(history: Sequence[Record], stores: Stores) -> dict[str, list[tuple[int, Deed]]]:
    """By cart what was done to it, in version order, as `cart-changed` tells it.

    Of an operation's attempts the last one counts, up to the one that an order has counted. What an erased
    order has counted is forgotten with it.
    """
    known: dict[tuple[str, str | None], Deed] = {
        (operation.cart_id, operation.key): operation.commands for operation in writes(history)
    }
    bought = {(order.cart_id, order.order_id): order.lines() for order in stores.sales.orders}
    erased = erased_versions(stores)
    attempts: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for record in stores.published:
        change = record.change
        attempts[change.cart_id][change.op_id].add(change.version)
        if is_erasure(change):
            known[change.cart_id, change.op_id] = Forgotten()
        pieces = bought.get((change.cart_id, change.op_id))
        for step in _subtractions(change):
            named = counted[change.cart_id]
            if change.version > erased.get(change.cart_id, 0):
                for attempt in step.attempts:
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
