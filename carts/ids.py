"""The identifiers of the domain: carts, products, lines, operations. Grammar and derivation only."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from carts.errors import InvalidIdentifier

# A user's id is the shop's: an e-mail address, `auth0|…`, `gid://…`. What JSON would escape is left out: the
# scripts put ids into JSON as they are. So is what cannot be seen, spaces but the common one, and other forms
# than NFC: two ids must not look alike.
_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffd-\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_USER_ID: Final = rf"(?! )[^{_UNSEEN}\"\\]{{1,128}}(?<! )"
_PLAIN_CART_ID: Final = re.compile(r"(?:user|guest):[A-Za-z0-9._~-]{1,128}")
"""What nearly all ids are; quicker to tell than the whole grammar, and always in NFC."""
_GUEST_ID: Final = r"guest:[A-Za-z0-9._~-]{1,128}"
_CART_ID: Final = re.compile(rf"user:{_USER_ID}|{_GUEST_ID}")
# A product's id is the shop's, too: `gid://…`, `DZ 1437`. A tilde parts it from the options of a line; what
# begins with an exclamation mark stands beside the products in their cache; browsers drop `..` out of a path.
_ID_OF_PRODUCT: Final = rf"(?![ !])(?!\.\.?(?:\Z|~))[^{_UNSEEN}\"\\~]{{1,128}}(?<! )"
_PLAIN_LINE_ID: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}(?:~[0-9a-f]{12})?")
_PRODUCT_ID: Final = re.compile(_ID_OF_PRODUCT)
_LINE_ID: Final = re.compile(rf"{_ID_OF_PRODUCT}(?:~[0-9a-f]{{12}})?")
_OPTIONS_BEGIN: Final = "~"
_MERGE_ID: Final = re.compile(r"m_[0-9a-f]{32}")
_ORDER_ID: Final = re.compile(r"o_[0-9a-f]{32}")
# Orders have ids of operations, too: nobody may take one in advance.
_OP_ID: Final = re.compile(rf"(?!{_ORDER_ID.pattern}\Z)[\x22-\x7e][\x21-\x7e]{{0,127}}")

GRAMMARS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cart_id": _CART_ID.pattern,
        "guest_id": _GUEST_ID,
        "product_id": _PRODUCT_ID.pattern,
        "line_id": _LINE_ID.pattern,
        "merge_id": _MERGE_ID.pattern,
        "order_id": _ORDER_ID.pattern,
        "op_id": _OP_ID.pattern,
    }
)
"""What a whole identifier matches, for descriptions of it; that it is in NFC is asked for beside it."""

SYSTEM_OP_PREFIX: Final = "!"
"""Operation ids made by the system start with it; a client's Idempotency-Key may not."""


_TRANSFER: Final = re.compile(r"!(?:merge|finish)/([0-9]{1,15})/.*")


def merge_op_id(number: int, merge_id: str) -> str:
    """The id of the operation that brings a cart its transfer of that number."""
    return f"!merge/{number}/{merge_id}"


def finish_op_id(number: int, merge_id: str) -> str:
    """The id of the operation that takes the guest cart's transfer of that number out of it."""
    return f"!finish/{number}/{merge_id}"


def claim_op_id(merge_id: str) -> str:
    """The id of the operation by which a merge claims the guest cart."""
    return f"!claim/{merge_id}"


def transfer_number(op_id: str) -> int | None:
    """The number, within its cart, of the transfer that an operation belongs to; None: it is of none."""
    match = _TRANSFER.fullmatch(op_id)
    return int(match[1]) if match else None


def to_cart_id(text: str) -> str:
    """The cart id that somebody has written, in NFC: keyboards differ in it. Raises InvalidIdentifier."""
    return check_cart_id(unicodedata.normalize("NFC", text))


def check_cart_id(value: str) -> str:
    """Return `value` if it is `user:<id>`, in NFC, or `guest:<id>`; raise InvalidIdentifier otherwise."""
    if _PLAIN_CART_ID.fullmatch(value) is not None:
        return value
    if _CART_ID.fullmatch(value) is None or not unicodedata.is_normalized("NFC", value):
        raise InvalidIdentifier(
            "cart_id",
            value,
            'use user:<id>, 1 to 128 printable characters in NFC without " and \\, '
            "or guest:<id>, 1 to 128 of A-Z a-z 0-9 . _ ~ -",
        )
    return value


def to_product_id(text: str) -> str:
    """The product id that somebody has written, in NFC. Raises InvalidIdentifier."""
    return check_product_id(text if text.isascii() else unicodedata.normalize("NFC", text))


def check_product_id(value: str) -> str:
    """Return `value` if it is a product id, in NFC; raise InvalidIdentifier otherwise."""
    if _PRODUCT_ID.fullmatch(value) is None or not unicodedata.is_normalized("NFC", value):
        raise InvalidIdentifier(
            "product_id",
            value,
            'use 1 to 128 printable characters in NFC without " \\ ~, no ! in front, and not . or ..',
        )
    return value


def to_line_id(text: str) -> str:
    """The line id that somebody has written, in NFC. Raises InvalidIdentifier."""
    return check_line_id(text if text.isascii() else unicodedata.normalize("NFC", text))


def check_line_id(value: str) -> str:
    """Return `value` if it is a line id, in NFC; raise InvalidIdentifier otherwise."""
    if _PLAIN_LINE_ID.fullmatch(value) is not None:
        return value
    if _LINE_ID.fullmatch(value) is None or not unicodedata.is_normalized("NFC", value):
        raise InvalidIdentifier("line_id", value, "use the line_id that the cart shows for this line")
    return value


def product_id_of(line_id: str) -> str:
    """The product of a line."""
    return line_id.partition(_OPTIONS_BEGIN)[0]


def check_op_id(value: str) -> str:
    """Return `value` if a client may use it as an Idempotency-Key; raise InvalidIdentifier otherwise."""
    if _OP_ID.fullmatch(value) is None:
        raise InvalidIdentifier(
            "Idempotency-Key",
            value,
            "use 1 to 128 printable ASCII characters, not starting with '!', not the id of an order; "
            "a UUIDv7 is best",
        )
    return value


def is_order_id(value: str) -> bool:
    """Whether `value` looks like the id of an order, which is also that of its checkout and subtraction."""
    return _ORDER_ID.fullmatch(value) is not None


def is_merge_id(value: str) -> bool:
    """Whether `value` looks like the id of a merge."""
    return _MERGE_ID.fullmatch(value) is not None


def derive_line_id(product_id: str, options: Mapping[str, str]) -> str:
    """The line a product with these options belongs to: the product id, or it plus 12 hex digits of them.

    The hash is SHA-256 over the options as JSON with sorted keys, so the same choice always finds the same
    line.
    """
    if not options:
        return product_id
    canonical = msgspec.json.encode(dict(options), order="sorted")
    return f"{product_id}{_OPTIONS_BEGIN}{hashlib.sha256(canonical).hexdigest()[:12]}"
