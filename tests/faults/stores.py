"""What the stores contain after a run, as values that checks can compare."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from carts.content import shown
from carts.operations import Change
from carts.state import State
from tests.faults.history import Operation, Record
from tests.faults.sales import Sales


class Published(msgspec.Struct, frozen=True):
    """A record of `cart-changed` and where it stands."""

    partition: int
    offset: int
    change: Change


class Copy(msgspec.Struct, frozen=True):
    """A cart as one store shows it: version tag, pieces by line, metadata, e-mail, pieces saved for later."""

    version: str
    lines: dict[str, int]
    metadata: dict[str, object] = {}
    email: str | None = None
    saved: dict[str, int] = {}


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """The stores after the run, as far as the run's carts go.

    `published` is `cart-changed` and `records` the states of each cart in `carts`, both in offset order;
    `outbox` and `dead_letters` are counts over all carts.
    """

    published: Sequence[Published]
    records: Mapping[str, Sequence[State]]
    redis: Mapping[str, Copy]
    rows: Mapping[str, Copy]
    outbox: int = 0
    dead_letters: int = 0
    sales: Sales = Sales()


class Violation(msgspec.Struct, frozen=True):
    """A broken promise: what happened, to which cart, and how one sees it."""

    what: str
    cart_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.cart_id}: {self.detail}"


Check = Callable[[Sequence[Record], Stores], list[Violation]]
"""What it finds wrong with a history and the stores after it."""


def copy_of(state: State) -> Copy:
    """What a `carts` state shows."""
    content = state.content()
    lines = {line_id: line.quantity for line_id, line in shown(content)}
    saved = {line_id: line.quantity for line_id, line in content.saved.items()}
    return Copy(state.version.tag(), lines, dict(content.metadata), content.details.email, saved)


def about(what: str, operation: Operation, detail: str) -> Violation:
    """A violation that an operation has met."""
    return Violation(what, operation.cart_id, f"operation {operation.op} ({operation.key}): {detail}")
