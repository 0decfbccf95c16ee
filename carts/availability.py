"""Whether a product can be had as wished, and what has moved on since it went into a cart. Pure decisions."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from carts.products import Facts
from carts.view import CartLine, CartWarning


class Code(StrEnum):
    """Why a product cannot be had as wished: codes of a cart's warnings and of a checkout's differences."""

    PRODUCT_UNKNOWN = "product_unknown"
    PRODUCT_INACTIVE = "product_inactive"
    PRICE_CHANGED = "price_changed"
    OUT_OF_STOCK = "out_of_stock"
    SHORT_STOCK = "short_stock"


class Wish(msgspec.Struct, frozen=True):
    """What somebody wants of a product: pieces in all, and the price they were told (none: any)."""

    quantity: int
    unit_price: int | None = None
    currency: str | None = None


def obstacle(wish: Wish, facts: Facts | None) -> Code | None:
    """Why the wish cannot be granted, the gravest reason first; None if it can."""
    if facts is None:
        return Code.PRODUCT_UNKNOWN
    if not facts.active:
        return Code.PRODUCT_INACTIVE
    if wish.unit_price not in {None, facts.unit_price} or wish.currency not in {None, facts.currency}:
        return Code.PRICE_CHANGED
    return _short(wish.quantity, facts)


def warnings(
    lines: Iterable[CartLine], currency: str | None, known: Mapping[str, Facts | None]
) -> list[CartWarning]:
    """What has moved on under a cart in `currency`: warnings whose target is a line id, in the lines' order.

    `known` has every product of the lines, None for one that is unknown. Stock is compared with the pieces
    of all lines of the product together; a line can have a warning of its price and one of its stock.
    """
    lines = list(lines)
    pieces: dict[str, int] = {}
    for line in lines:
        pieces[line.product_id] = pieces.get(line.product_id, 0) + line.quantity
    found = []
    for line in lines:
        facts = known[line.product_id]
        first = obstacle(Wish(pieces[line.product_id], line.unit_price, currency), facts)
        codes = [first]
        if first is Code.PRICE_CHANGED and facts is not None:
            codes.append(_short(pieces[line.product_id], facts))
        found += [CartWarning(code.value, line.line_id) for code in codes if code is not None]
    return found


def _short(quantity: int, facts: Facts) -> Code | None:
    if facts.stock is None or quantity <= facts.stock:
        return None
    return Code.SHORT_STOCK if facts.stock else Code.OUT_OF_STOCK
