"""What a request on a cart may say, and the steps it asks for."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec

from carts.errors import InvalidIdentifier
from carts.ids import check_line_id, check_product_id, derive_line_id
from carts.limits import LIMITS, Limits
from carts.numbers import ADVICE
from carts.operations import Clear, Item, Metadata, Remove, SetMetadata
from gateway.http.validation import check_metadata, invalid
from store.redis import RequestStep, SetQuantity

ProductId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, description="1 to 64 of A-Z a-z 0-9 . _ -")
]
LineId = Annotated[str, msgspec.Meta(min_length=1, max_length=77, description="as the cart shows it")]
Pieces = Annotated[int, msgspec.Meta(ge=1, le=LIMITS.quantity)]
Quantity = Annotated[int, msgspec.Meta(ge=0, le=LIMITS.quantity, description="0 removes the line")]
UnitPrice = Annotated[
    Annotated[int, msgspec.Meta(ge=0, le=LIMITS.unit_price)] | None,
    msgspec.Meta(
        description=(
            "Minor units of the currency. Without a catalogue it is required, and taken as it is sent: for "
            "trusted callers only. With one it is what the shopper was told, refused if it is another now."
        ),
    ),
]
# The length is not redundant: `$` also matches before a newline at the end.
Currency = Annotated[
    Annotated[str, msgspec.Meta(max_length=3, pattern=r"^[A-Z]{3}$")] | None,
    msgspec.Meta(description="ISO 4217, for example EUR; required without a catalogue"),
]
Options = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
        Annotated[str, msgspec.Meta(max_length=256)],
    ],
    msgspec.Meta(
        max_length=16, description="Chosen variants, for example size; other options are another line."
    ),
]
FreeForm = Annotated[
    dict[str, Any],
    msgspec.Meta(description=f"Any JSON object of up to 16 KiB, carried unread. Send {ADVICE}."),
]


class AddItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Add pieces of a product. The price and metadata are those of the newest add."""

    product_id: ProductId
    quantity: Pieces
    unit_price: UnitPrice = None
    currency: Currency = None
    options: Options = {}
    metadata: FreeForm | None = None


class PutItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Replace the quantity and the metadata of a line; with a catalogue its price becomes that of now."""

    quantity: Quantity
    metadata: FreeForm = {}


class PatchItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Change what is named of a line: its quantity, its metadata, or both."""

    quantity: Quantity | None = None
    metadata: FreeForm | None = None


class AddOperation(AddItem, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="add"):
    """Add pieces of a product."""


class SetOperation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="set"):
    """Decide the quantity of a line that is there; metadata stays unless given."""

    line_id: LineId
    quantity: Quantity
    metadata: FreeForm | None = None


class RemoveOperation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="remove"):
    """Remove a line; removing one that is not there is no error."""

    line_id: LineId


class ClearOperation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="clear"):
    """Remove all lines; the cart's metadata stays."""


class MetadataOperation(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="metadata"
):
    """Replace the metadata of the cart, or of the line named."""

    metadata: FreeForm
    line_id: LineId | None = None


AnyOperation = AddOperation | SetOperation | RemoveOperation | ClearOperation | MetadataOperation


class PatchCart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Several operations: all of them or none, one version, one event."""

    operations: Annotated[list[AnyOperation], msgspec.Meta(min_length=1, max_length=LIMITS.steps)]


class MintedCart(msgspec.Struct, frozen=True):
    """A new guest cart. `token` proves it; keep it secret."""

    cart_id: str
    token: str


ADD_ITEM: Final = msgspec.json.Decoder(AddItem)
PUT_ITEM: Final = msgspec.json.Decoder(PutItem)
PATCH_ITEM: Final = msgspec.json.Decoder(PatchItem)
PATCH_CART: Final = msgspec.json.Decoder(PatchCart)


class AddWish(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="add"):
    """An add as it is asked for: the price is what the caller states, and may be left to the catalogue."""

    line_id: str
    quantity: int
    item: Item
    unit_price: int | None = None
    currency: str | None = None
    metadata: Metadata | None = None


Steps = tuple[RequestStep, ...]
AskedStep = AddWish | RequestStep


class Asked(msgspec.Struct, frozen=True):
    """The steps that a request asks for; `many`: it is a list of operations."""

    steps: tuple[AskedStep, ...]
    many: bool = False

    def pointer(self, index: int) -> str:
        """Where in the body a step stands (RFC 6901)."""
        return f"/operations/{index}" if self.many else ""

    def fingerprint(self) -> str:
        """16 hex digits that tell a retry (same steps) from a reused key (others); order of members apart.

        Of what was asked, not of what it came to: a retry is one also after the price has changed.
        """
        return hashlib.blake2b(msgspec.json.encode(self.steps, order="sorted"), digest_size=8).hexdigest()


def add_item(body: AddItem) -> Asked:
    """The step of an add. Raises Problem."""
    return Asked((_add(body, "", LIMITS),))


def put_item(line_id: str, body: PutItem) -> Asked:
    """The step that replaces a line's quantity and metadata."""
    metadata = _metadata(body.metadata, "", LIMITS)
    return Asked((_quantity(line_id, body.quantity, metadata),))


def patch_item(line_id: str, body: PatchItem) -> Asked:
    """The step that changes what the body names of a line. Raises Problem when it names nothing."""
    metadata = _metadata(body.metadata, "", LIMITS)
    if body.quantity is not None:
        return Asked((_quantity(line_id, body.quantity, metadata),))
    if metadata is None:
        raise invalid("", "names nothing to change; send quantity, metadata or both")
    return Asked((SetMetadata(metadata, line_id),))


def patch_cart(body: PatchCart) -> Asked:
    """The steps of all operations, in order. Problems point at the place: /operations/3/quantity."""
    return Asked(tuple(_steps(body.operations)), many=True)


def _steps(operations: Iterable[AnyOperation]) -> Iterable[AskedStep]:
    for index, operation in enumerate(operations):
        pointer = f"/operations/{index}"
        match operation:
            case AddOperation():
                yield _add(operation, pointer, LIMITS)
            case SetOperation():
                line_id = _line_id(operation.line_id, pointer)
                yield _quantity(line_id, operation.quantity, _metadata(operation.metadata, pointer, LIMITS))
            case RemoveOperation():
                yield Remove(_line_id(operation.line_id, pointer))
            case ClearOperation():
                yield Clear()
            case MetadataOperation():
                metadata = _metadata(operation.metadata, pointer, LIMITS)
                named = None if operation.line_id is None else _line_id(operation.line_id, pointer)
                yield SetMetadata(metadata or {}, named)


def _add(body: AddItem, pointer: str, limits: Limits) -> AddWish:
    try:
        product_id = check_product_id(body.product_id)
    except InvalidIdentifier as error:
        raise invalid(f"{pointer}/product_id", error.advice) from error
    return AddWish(
        line_id=derive_line_id(product_id, body.options),
        quantity=body.quantity,
        item=Item(product_id, body.options),
        unit_price=body.unit_price,
        currency=body.currency,
        metadata=_metadata(body.metadata, pointer, limits),
    )


def _quantity(line_id: str, quantity: int, metadata: Metadata | None) -> RequestStep:
    return SetQuantity(line_id, quantity, metadata=metadata) if quantity else Remove(line_id)


def _line_id(value: str, pointer: str) -> str:
    try:
        return check_line_id(value)
    except InvalidIdentifier as error:
        raise invalid(f"{pointer}/line_id", error.advice) from error


def _metadata(value: Metadata | None, pointer: str, limits: Limits) -> Metadata | None:
    if value:
        check_metadata(value, f"{pointer}/metadata", limits.metadata_bytes)
    return value
