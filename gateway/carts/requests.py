"""The bodies of requests on carts, and the command that each becomes."""

import time
from collections.abc import Iterable, Mapping
from random import getrandbits
from typing import Annotated, Final, assert_never

import msgspec
from sanic import Request

from carts.errors import InvalidIdentifier
from carts.ids import derive_line_id, to_line_id, to_product_id
from carts.lifetime import GUEST_PREFIX
from carts.limits import LIMITS, Limits
from carts.operations import Clear, Item, Metadata, Remove, Save, SetMetadata
from carts.state import Version
from carts.texts import has_control_characters
from gateway.carts.commands import AddProduct, ChangeCommand, CommandStep, fingerprint_of
from gateway.carts.details import DetailsOperation, Locale, PatchDetails, set_details
from gateway.http.conditions import Preconditions, first_attempt_us, parse_idempotency_key
from gateway.http.grammars import identifier, printable
from gateway.http.problems import INVALID_HEADER, Problem
from gateway.http.requests import cart_id_in, preconditions_of, preferences_of, single_of, trace_of
from gateway.http.validation import FreeForm, escape, invalid, storable_metadata
from gateway.identity.guard import caller_of
from gateway.identity.principal import Kind
from store.redis import RequestStep, SetQuantity

ProductId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        description='1 to 128 characters without " \\ ~ and control characters; no ! at the beginning',
        extra_json_schema=identifier("product_id"),
    ),
]
LineId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=141,
        description="as the cart shows it",
        extra_json_schema=identifier("line_id"),
    ),
]
AddedQuantity = Annotated[int, msgspec.Meta(ge=1, le=LIMITS.quantity)]
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
        Annotated[str, msgspec.Meta(min_length=1, max_length=64, extra_json_schema=printable())],
        Annotated[str, msgspec.Meta(max_length=256, extra_json_schema=printable())],
    ],
    msgspec.Meta(
        max_length=16, description="Chosen variants, for example size; other options are another line."
    ),
]


class AddItem(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Add pieces of a product. The price and metadata are those of the newest add."""

    product_id: ProductId
    quantity: AddedQuantity
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
    """Remove all lines; the cart's metadata and details stay."""


class MetadataOperation(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="metadata"
):
    """Replace the metadata of the cart, or of the line named."""

    metadata: FreeForm
    line_id: LineId | None = None


class SaveOperation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="save"):
    """Save a product for later, beside the cart, or take it off that list: quantity 0."""

    product_id: ProductId
    quantity: Quantity
    options: Options = {}
    metadata: FreeForm = {}


AnyOperation = (
    AddOperation
    | SetOperation
    | RemoveOperation
    | ClearOperation
    | MetadataOperation
    | DetailsOperation
    | SaveOperation
)


class PatchCart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Several operations: all of them or none, one version, one event."""

    operations: Annotated[list[AnyOperation], msgspec.Meta(min_length=1, max_length=LIMITS.steps)]


class MintCart(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a new cart begins with; `currency` is that of the items that state none, `locale` a detail."""

    currency: Currency = None
    locale: Locale | None = None
    items: Annotated[list[AddItem], msgspec.Meta(max_length=LIMITS.steps - 1)] = []


_NEVER_WRITTEN: Final = Preconditions(if_match=(Version().tag(),))
UNGUESSABLE: Final = 22
"""Characters of 128 bits in base64url."""

ADD_ITEM: Final = msgspec.json.Decoder(AddItem)
PUT_ITEM: Final = msgspec.json.Decoder(PutItem)
PATCH_ITEM: Final = msgspec.json.Decoder(PatchItem)
PATCH_CART: Final = msgspec.json.Decoder(PatchCart)
MINT_CART: Final = msgspec.json.Decoder(MintCart)


def change_command(
    request: Request,
    cart_id: str,
    steps: tuple[CommandStep, ...],
    cause: str,
    *,
    listed_in: str | None = None,
) -> ChangeCommand:
    """The command that a request is, with the steps of its body. Raises Problem."""
    headers = request.headers
    now_us = time.time_ns() // 1000
    preferences = preferences_of(headers)
    key = single_of(headers, "idempotency-key")
    if key is None:
        op_id, first_seen_us, fingerprint = f"{getrandbits(128):032x}", now_us, ""
    else:
        op_id = parse_idempotency_key(key)
        first_seen_us = min(now_us, first_attempt_us(op_id) or now_us)
        fingerprint = fingerprint_of(steps)
    return ChangeCommand(
        preconditions=preconditions_of(headers),
        cart_id=cart_id_in(cart_id),
        steps=steps,
        listed_in=listed_in,
        cause=cause,
        op_id=op_id,
        fingerprint=fingerprint,
        first_seen_us=first_seen_us,
        preferences=preferences,
        trace=trace_of(headers),
        caller=caller_of(request),
    )


def minting_key(value: str) -> str:
    """The Idempotency-Key of a mint, which proves whose cart it is until the token does. Raises Problem."""
    key = parse_idempotency_key(value)
    if len(key) < UNGUESSABLE:
        raise Problem(
            INVALID_HEADER,
            f"Idempotency-Key has {len(key)} characters: whoever knows the key of a mint gets its cart, so "
            f"send at least {UNGUESSABLE} that nobody can guess; a UUID is best.",
        )
    return key


def mint_command(request: Request, cart_id: str, steps: tuple[CommandStep, ...]) -> ChangeCommand:
    """The command that fills a cart just minted. Raises Problem.

    The cart must never have been written: a retry that is too late to be told from a new request is refused.
    """
    command = change_command(request, cart_id, steps, "carts.mint", listed_in="items")
    caller = command.caller
    if caller.kind is Kind.ANONYMOUS:
        caller = msgspec.structs.replace(caller, actor=cart_id)
    op_id = command.op_id
    if command.may_be_retry:
        # The key is a proof, and operation ids stand in records and stores. The cart is this key's alone.
        op_id = f"mint/{cart_id.removeprefix(GUEST_PREFIX)}"
    return msgspec.structs.replace(command, op_id=op_id, preconditions=_NEVER_WRITTEN, caller=caller)


def add_item(body: AddItem) -> CommandStep:
    """The step of an add. Raises Problem."""
    return _add(body, "", LIMITS)


def put_item(line_id: str, body: PutItem) -> CommandStep:
    """The step that replaces a line's quantity and metadata. Raises Problem."""
    return _quantity(line_id, body.quantity, _metadata(body.metadata, "", LIMITS))


def patch_item(line_id: str, body: PatchItem) -> CommandStep:
    """The step that changes what the body names of a line. Raises Problem, also when it names nothing."""
    metadata = _metadata(body.metadata, "", LIMITS)
    if body.quantity is not None:
        return _quantity(line_id, body.quantity, metadata)
    if metadata is None:
        raise invalid("", "names nothing to change; send quantity, metadata or both")
    return SetMetadata(metadata, line_id)


def patch_cart(body: PatchCart) -> tuple[CommandStep, ...]:
    """The steps of all operations, in order. Raises Problem that points at the place."""
    return tuple(_steps(body.operations))


def mint_cart(body: MintCart) -> tuple[CommandStep, ...]:
    """The steps that make a new cart; none: it stays empty. Raises Problem that points at the place."""
    steps: list[CommandStep] = [
        _add(_with_currency(item, body.currency), f"/items/{index}", LIMITS)
        for index, item in enumerate(body.items)
    ]
    if body.locale is not None:
        steps.append(set_details(PatchDetails(locale=body.locale)))
    return tuple(steps)


def _with_currency(item: AddItem, currency: str | None) -> AddItem:
    return item if item.currency is not None else msgspec.structs.replace(item, currency=currency)


def _steps(operations: Iterable[AnyOperation]) -> Iterable[CommandStep]:
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
            case DetailsOperation():
                yield set_details(operation, pointer)
            case SaveOperation():
                yield _save(operation, pointer)
            case _:
                assert_never(operation)


def _add(body: AddItem, pointer: str, limits: Limits) -> AddProduct:
    product_id = _product_id(body.product_id, pointer)
    _check_options(body.options, pointer)
    return AddProduct(
        line_id=derive_line_id(product_id, body.options),
        quantity=body.quantity,
        item=Item(product_id, body.options),
        unit_price=body.unit_price,
        currency=body.currency,
        metadata=_metadata(body.metadata, pointer, limits),
    )


def _save(body: SaveOperation, pointer: str) -> Save:
    product_id = _product_id(body.product_id, pointer)
    _check_options(body.options, pointer)
    line_id = derive_line_id(product_id, body.options)
    metadata = _metadata(body.metadata, pointer, LIMITS) or {}
    return Save(line_id, body.quantity, Item(product_id, body.options), metadata)


def _product_id(value: str, pointer: str) -> str:
    try:
        return to_product_id(value)
    except InvalidIdentifier as error:
        raise invalid(f"{pointer}/product_id", error.advice) from error


def _check_options(options: Mapping[str, str], pointer: str) -> None:
    """Options stand in mails that the shop sends: nobody writes lines of their own into these."""
    for name, value in options.items():
        if has_control_characters(name) or has_control_characters(value):
            raise invalid(
                f"{pointer}/options/{escape(name)}",
                "contains a control character, such as a line feed; remove it",
            )


def _quantity(line_id: str, quantity: int, metadata: Metadata | None) -> RequestStep:
    return SetQuantity(line_id, quantity, metadata=metadata) if quantity else Remove(line_id)


def _line_id(value: str, pointer: str) -> str:
    try:
        return to_line_id(value)
    except InvalidIdentifier as error:
        raise invalid(f"{pointer}/line_id", error.advice) from error


def _metadata(value: Metadata | None, pointer: str, limits: Limits) -> Metadata | None:
    return storable_metadata(value, f"{pointer}/metadata", limits.metadata_bytes) if value else value
