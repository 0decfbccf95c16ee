"""Operations: what a cart is made of. An operation: a version, an id, 1 to 100 steps, all or nothing.

Every kind of step that version 1 of the records knows is here, so that no later feature breaks a reader.
"""

from typing import Any, Final, get_args

import msgspec

from carts.details import DetailsPatch

Metadata = dict[str, Any]
"""A JSON object that the product carries and never looks into."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is bought: a product and the chosen options. Two equal items share a line."""

    product_id: str
    options: dict[str, str] = {}


class Add(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="add"):
    """Add pieces to a line. Adds commute; price and metadata are those of the newest add or set."""

    line_id: str
    quantity: int
    unit_price: int
    currency: str
    item: Item
    metadata: Metadata | None = None


class Set(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="set"):
    """Decide the quantity of a line. The item is filled in from the line, so the step stands on its own."""

    line_id: str
    quantity: int
    unit_price: int
    currency: str
    item: Item
    metadata: Metadata | None = None


class Remove(msgspec.Struct, frozen=True, tag_field="kind", tag="remove"):
    """Decide that a line has no pieces."""

    line_id: str


class Clear(msgspec.Struct, frozen=True, tag_field="kind", tag="clear"):
    """Decide that no line has pieces. The cart's metadata and details, and what is saved, stay."""


class SetMetadata(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="metadata"):
    """Replace the metadata of the cart, or of one line."""

    metadata: Metadata
    line_id: str | None = None


class SetDetails(DetailsPatch, frozen=True, tag_field="kind", tag="details"):
    """Set or remove details of the cart; the last step that names a field decides it."""


class Save(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="save"):
    """Decide what is saved for later of a line, beside the cart; a quantity of 0 takes it off the list."""

    line_id: str
    quantity: int
    item: Item
    metadata: Metadata = {}


class OrderedLine(msgspec.Struct, frozen=True, rename={"decided_version": "dv"}):
    """A line of an order: the quantity ordered and the version that had decided the line in the snapshot."""

    line_id: str
    quantity: int
    decided_version: int


class Attempt(msgspec.Struct, frozen=True, rename={"version": "v"}):
    """The version under which the snapshot of an order counted an operation.

    A retry on a stale copy is a further attempt of the same operation, under a version of its own.
    """

    op_id: str
    version: int


class Withdrawal(msgspec.Struct, frozen=True, rename={"attempts": "births", "snapshot_version": "sv"}):
    """Take pieces out of the cart, as they were in the snapshot of that version.

    Pieces added since stay, a line that a set or remove has decided since is left alone (`carts.ordering`).
    """

    lines: tuple[OrderedLine, ...]
    attempts: tuple[Attempt, ...]
    snapshot_version: int


class Subtract(Withdrawal, frozen=True, tag_field="kind", tag="subtract"):
    """Take out what an order bought."""

    order_id: str


class Claim(msgspec.Struct, frozen=True, tag_field="kind", tag="claim"):
    """A merge takes hold of a guest cart: it refuses writes from now on."""

    merge_id: str
    into: str


class Finish(Withdrawal, frozen=True, tag_field="kind", tag="finish"):
    """Take out of the guest cart what the transfer of that number has carried over."""

    merge_id: str
    transfer: int


class Merged(msgspec.Struct, frozen=True, tag_field="kind", tag="merged"):
    """The guest cart has a successor: what could go along has gone."""

    merge_id: str
    into: str


class Expire(
    msgspec.Struct, frozen=True, tag_field="kind", tag="expire", rename={"seen_operation_count": "seen_n"}
):
    """The cart idles since version (`seen`, `seen_operation_count`): clear it unless a write did not know.

    `at` in microseconds.
    """

    seen: int
    seen_operation_count: int
    at: int


class Void(msgspec.Struct, frozen=True, tag_field="kind", tag="void"):
    """An expiry that a write has overruled."""


class Duplicate(msgspec.Struct, frozen=True, tag_field="kind", tag="duplicate"):
    """A second attempt of an operation that an order has already counted: known, never effective."""


class Purge(
    msgspec.Struct, frozen=True, tag_field="kind", tag="purge", rename={"seen_operation_count": "seen_n"}
):
    """Delete a cart that has been expired for the whole retention time. `at` in microseconds."""

    seen: int
    seen_operation_count: int
    at: int


class Trim(msgspec.Struct, frozen=True, tag_field="kind", tag="trim"):
    """Nothing that is older than `at` less W is on its way any more: it may leave an idle cart's window.

    `at` in microseconds.
    """

    at: int


class Erase(msgspec.Struct, frozen=True, tag_field="kind", tag="erase"):
    """Forget everything that the cart has held up to the version of the change, whatever arrives late."""


class Seed(msgspec.Struct, frozen=True, tag_field="kind", tag="seed"):
    """A whole state, united with what is there: import and last-resort restore."""

    state: dict[str, Any]


ClientStep = Add | Set | Remove | Clear | SetMetadata | SetDetails | Save
"""What clients ask for."""
FoldedStep = ClientStep | Subtract | Claim | Finish | Merged
"""What a change may bring into a cart's window, alone or with others."""
Step = FoldedStep | Expire | Void | Duplicate | Purge | Trim | Erase | Seed
"""Every kind of step. `tests/carts/test_step_kinds.py` names each place that a new kind was forgotten in."""
Delta = tuple[Step, ...]

KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Step))
"""The names of the step kinds in the newest version of the records."""

DUPLICATE: Final[Delta] = (Duplicate(),)
VOID: Final[Delta] = (Void(),)


class Operation(msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v"}):
    """One entry of a cart's window.

    `version` is 2 x the microseconds of the Redis script that made it (even; expiries are odd; below 2^53)
    and rises within a cart. `fingerprint` tells a retry from a reused key.
    """

    version: int
    op_id: str
    fingerprint: str
    delta: Delta


class Change(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    kw_only=True,
    rename={"version": "v", "previous_version": "prev"},
):
    """An operation on its way: the value of a `cart-changed` record.

    `previous_version` is the version the cart had in Redis before (none for republished operations), `born`
    the version of the cart's first operation, `actor` who asked, `cause` why (a route, an agent).
    """

    cart_id: str
    version: int
    op_id: str
    fingerprint: str = ""
    delta: Delta
    previous_version: int | None = None
    born: int = 0
    actor: str | None = None
    cause: str | None = None

    def operation(self) -> Operation:
        """The entry that this change adds to the cart's window."""
        return Operation(self.version, self.op_id, self.fingerprint, self.delta)
