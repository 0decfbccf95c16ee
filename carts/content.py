"""What a cart holds at one point of its history, and how a step changes it. The one application of steps."""

from collections.abc import Iterable

import msgspec

from carts.details import NO_DETAILS, Details, patched
from carts.ids import product_id_of
from carts.operations import (
    Add,
    Clear,
    Delta,
    Expire,
    Metadata,
    Operation,
    Remove,
    Save,
    Set,
    SetDetails,
    SetMetadata,
    Withdrawal,
)


class Line(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"decided_version": "dv", "added_version": "av", "added_step": "step"},
):
    """A product in a cart. The quantity is signed here and clamped when shown.

    `decided_version` is the version of the set or remove that last decided the line (0: none),
    `added_version` the version that made it appear, `added_step` which of its steps. A removed line stays
    with quantity 0 and its `decided_version`, so that a later subtraction knows what decided it.
    """

    product_id: str
    quantity: int
    unit_price: int
    options: dict[str, str] = {}
    metadata: Metadata = {}
    decided_version: int = 0
    added_version: int = 0
    added_step: int = 0


class SavedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A product saved for later: nobody orders it, and its price is not kept."""

    product_id: str
    quantity: int
    options: dict[str, str] = {}
    metadata: Metadata = {}


class Content(msgspec.Struct, frozen=True, omit_defaults=True, rename={"cleared_version": "clr"}):
    """Lines by line id, the version of the last clear, the currency, the cart's metadata and its details.

    `saved` are the lines saved for later, by line id.
    """

    lines: dict[str, Line] = {}
    cleared_version: int = 0
    currency: str | None = None
    metadata: Metadata = {}
    details: Details = NO_DETAILS
    saved: dict[str, SavedLine] = {}


EMPTY = Content()


def apply(content: Content, operations: Iterable[Operation], start: int = 0) -> Content:
    """Apply effective operations in the order given; `start` is the state's (see carts.state.State)."""
    draft = _Draft(content)
    for operation in operations:
        draft.apply(operation.version, operation.delta, start)
    return draft.finish()


def shown(content: Content) -> list[tuple[str, Line]]:
    """The lines a reader sees: positive quantities, in the order in which they were added."""
    present = [(line_id, line) for line_id, line in content.lines.items() if line.quantity > 0]
    present.sort(key=lambda entry: (entry[1].added_version, entry[1].added_step, entry[0]))
    return present


def subtotal(content: Content) -> int:
    """Sum of quantity x unit price over the lines shown, in minor units."""
    return sum(line.quantity * line.unit_price for line in content.lines.values() if line.quantity > 0)


class _Draft:
    """A content in the making; only `apply` makes one."""

    def __init__(self, content: Content) -> None:
        self._lines = dict(content.lines)
        self._cleared_version = content.cleared_version
        self._currency = content.currency
        self._metadata = content.metadata
        self._details = content.details
        self._saved = dict(content.saved)

    def finish(self) -> Content:
        return Content(
            self._lines, self._cleared_version, self._currency, self._metadata, self._details, self._saved
        )

    def apply(self, version: int, delta: Delta, start: int) -> None:
        for index, step in enumerate(delta):
            match step:
                case Add():
                    self._add(version, index, step)
                case Set():
                    self._write(version, index, step, self._lines.get(step.line_id), step.quantity, version)
                case Remove():
                    self._remove(version, step.line_id)
                case Clear() | Expire():
                    self._lines.clear()
                    self._cleared_version = version
                    self._currency = None
                case SetMetadata():
                    self._set_metadata(step)
                case SetDetails():
                    self._details = patched(self._details, step)
                case Save():
                    self._save(step)
                case Withdrawal():
                    self._withdraw(step, start)
                case _:
                    pass  # claims, merges and voids say something about the cart, not about its content

    def _add(self, version: int, index: int, step: Add) -> None:
        old = self._lines.get(step.line_id)
        quantity, decided = (old.quantity, old.decided_version) if old else (0, self._cleared_version)
        self._write(version, index, step, old, quantity + step.quantity, decided)

    def _write(
        self, version: int, index: int, step: Add | Set, old: Line | None, quantity: int, decided: int
    ) -> None:
        appeared = (old.added_version, old.added_step) if old and old.quantity > 0 else (version, index)
        metadata = step.metadata if step.metadata is not None else old.metadata if old else {}
        self._lines[step.line_id] = Line(
            step.item.product_id, quantity, step.unit_price, step.item.options, metadata, decided, *appeared
        )
        self._currency = step.currency

    def _remove(self, version: int, line_id: str) -> None:
        old = self._lines.get(line_id)
        product_id = old.product_id if old else product_id_of(line_id)
        price, options = (old.unit_price, old.options) if old else (0, {})
        self._lines[line_id] = Line(product_id, 0, price, options, {}, version, version)

    def _save(self, step: Save) -> None:
        if step.quantity:
            self._saved[step.line_id] = SavedLine(
                step.item.product_id, step.quantity, step.item.options, step.metadata
            )
        else:
            self._saved.pop(step.line_id, None)

    def _set_metadata(self, step: SetMetadata) -> None:
        if step.line_id is None:
            self._metadata = step.metadata
        elif (old := self._lines.get(step.line_id)) is not None:
            self._lines[step.line_id] = msgspec.structs.replace(old, metadata=step.metadata)

    def _withdraw(self, step: Withdrawal, start: int) -> None:
        if step.snapshot_version < start:
            return
        for ordered in step.lines:
            old = self._lines.get(ordered.line_id)
            decided = old.decided_version if old else self._cleared_version
            if decided > ordered.decided_version:
                continue  # a set or remove that the order did not know has decided this line since
            if old is None:
                old = Line(product_id_of(ordered.line_id), 0, 0, decided_version=decided)
            quantity = old.quantity - ordered.quantity
            if quantity or decided:
                self._lines[ordered.line_id] = msgspec.structs.replace(old, quantity=quantity)
            else:
                self._lines.pop(ordered.line_id, None)
