"""JSON in and out of the topics; what cannot be read raises RecordError with a code and what is wrong."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id
from carts.limits import LIMITS, MAX_SAFE_INTEGER
from carts.operations import KINDS, Change, Seed
from carts.products import InvalidProduct, Product, check_product
from carts.state import State, Version
from topics.errors import RecordError, RecordErrorCode
from topics.records import AbandonmentRecord, CartRecord, MergeRecord, OrderRecord, PurgeFloor

T = TypeVar("T")


class _Recovery(msgspec.Struct, frozen=True):
    """What recovery needs of a `carts` record: decoding skips the rest."""

    state: State


class _Version(msgspec.Struct, frozen=True):
    version: str


_encoder: Final = msgspec.json.Encoder()
_change_decoder: Final = msgspec.json.Decoder(Change)
_cart_decoder: Final = msgspec.json.Decoder(CartRecord)
_recovery_decoder: Final = msgspec.json.Decoder(_Recovery)
_version_decoder: Final = msgspec.json.Decoder(_Version)
_order_decoder: Final = msgspec.json.Decoder(OrderRecord)
_abandonment_decoder: Final = msgspec.json.Decoder(AbandonmentRecord)
_merge_decoder: Final = msgspec.json.Decoder(MergeRecord)
_product_decoder: Final = msgspec.json.Decoder(Product)
_purge_floor_decoder: Final = msgspec.json.Decoder(PurgeFloor)


def encode_change(change: Change) -> bytes:
    """The value of a `cart-changed` record."""
    return _encoder.encode(change)


def decode_change(value: bytes | None) -> Change:
    """The change in a `cart-changed` value; RecordError if it is none, or one that no cart may take."""
    change = _decode(_change_decoder, value)
    if not 0 < change.version <= MAX_SAFE_INTEGER:
        raise RecordError(
            RecordErrorCode.BAD_VERSION, f"v is {change.version}, it must be 1 to {MAX_SAFE_INTEGER}"
        )
    if not 1 <= len(change.delta) <= LIMITS.steps:
        raise RecordError(
            RecordErrorCode.BAD_STEPS,
            f"delta has {len(change.delta)} steps, it must have 1 to {LIMITS.steps}",
        )
    try:
        check_cart_id(change.cart_id)
    except InvalidIdentifier as error:
        raise RecordError(RecordErrorCode.BAD_CART_ID, str(error)) from error
    for step in change.delta:
        if isinstance(step, Seed):
            _check_seed(step)
    return change


def encode_cart(record: CartRecord) -> bytes:
    """The value of a `carts` record."""
    return _encoder.encode(record)


def decode_cart(value: bytes | None) -> CartRecord:
    """The cart in a `carts` value; RecordError if it is none (a tombstone included)."""
    return _decode(_cart_decoder, value)


def decode_state(value: bytes | None) -> State:
    """Only the state of a `carts` value: half the work of `decode_cart`; RecordError if there is none."""
    return _decode(_recovery_decoder, value).state


def decode_version(value: bytes | None) -> Version:
    """Only the version of a `carts` value; RecordError if there is none."""
    tag = _decode(_version_decoder, value).version
    version = Version.parse(tag)
    if version is None:
        raise RecordError(RecordErrorCode.BAD_VERSION, f"version is {tag[:80]!r}, it must be v-n-digest")
    return version


def encode_purge_floor(record: PurgeFloor) -> bytes:
    """The value of the reserved `carts` record."""
    return _encoder.encode(record)


def decode_purge_floor(value: bytes | None) -> PurgeFloor:
    """The purge floor in the reserved `carts` record; RecordError if it is none."""
    return _decode(_purge_floor_decoder, value)


def encode_product(record: Product) -> bytes:
    """The value of a `products` record."""
    return _encoder.encode(record)


def decode_product(value: bytes | None) -> Product:
    """The product in a `products` value; RecordError if it is none, or one beyond the bounds of products."""
    product = _decode(_product_decoder, value)
    try:
        check_product(product)
    except InvalidProduct as error:
        raise RecordError(RecordErrorCode.BAD_PRODUCT, str(error)) from error
    return product


def encode_order(record: OrderRecord) -> bytes:
    """The value of an `orders` record."""
    return _encoder.encode(record)


def decode_order(value: bytes | None) -> OrderRecord:
    """The order in an `orders` value; RecordError if it is none."""
    return _decode(_order_decoder, value)


def decode_merge(value: bytes | None) -> MergeRecord:
    """The merge in a `cart-merges` value; RecordError if it is none."""
    return _decode(_merge_decoder, value)


def decode_abandonment(value: bytes | None) -> AbandonmentRecord:
    """What a `cart-abandoned` value tells of; RecordError if it is none."""
    return _decode(_abandonment_decoder, value)


DECODERS: Final[Mapping[type, Callable[[bytes], object]]] = {
    Change: decode_change,
    CartRecord: decode_cart,
    PurgeFloor: decode_purge_floor,
    Product: decode_product,
    OrderRecord: decode_order,
    MergeRecord: decode_merge,
    AbandonmentRecord: decode_abandonment,
}
"""How a value of each type is read where more is checked than its Struct says."""


def _decode(decoder: msgspec.json.Decoder[T], value: bytes | None) -> T:
    if not value:
        raise RecordError(RecordErrorCode.EMPTY, "the record has no value")
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(value, error) from error


def _explain(value: bytes, error: Exception) -> RecordError:
    """Say what is wrong; reads the value a second time, so only for values that failed."""
    try:
        document = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as reason:
        return RecordError(RecordErrorCode.NOT_JSON, str(reason))
    if isinstance(document, dict) and isinstance(document.get("delta"), list):
        for position, step in enumerate(document["delta"]):
            kind = step.get("kind") if isinstance(step, dict) else None
            if isinstance(kind, str) and kind not in KINDS:
                return RecordError(
                    RecordErrorCode.UNKNOWN_KIND,
                    f"step {position} is of kind {kind[:40]!r}: replay the record once this app knows it",
                )
    return RecordError(RecordErrorCode.INVALID, str(error))


def _check_seed(step: Seed) -> None:
    try:
        msgspec.convert(step.state, State)
    except msgspec.ValidationError as error:
        raise RecordError(RecordErrorCode.BAD_SEED, f"the state of the seed is not one: {error}") from error
