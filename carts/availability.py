"""Whether a product is available as requested, and what has changed since it was added. Pure functions."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from carts.products import Facts
from carts.view import CartLine, CartWarning


class Code(StrEnum):
    """Why a product is not available as requested: codes of a cart's warnings, a checkout's differences."""

    PRODUCT_UNKNOWN = "product_unknown"
    PRODUCT_INACTIVE = "product_inactive"
    PRICE_CHANGED = "price_changed"
    CURRENCY_CHANGED = "currency_changed"
    OUT_OF_STOCK = "out_of_stock"
    SHORT_STOCK = "short_stock"


class ProductRequest(msgspec.Struct, frozen=True):
    """The total quantity requested of a product, and the price that the client was shown (None: any)."""

    quantity: int
    unit_price: int | None = None
    currency: str | None = None


def obstacle(request: ProductRequest, facts: Facts | None) -> Code | None:
    """The most serious reason why the request cannot be fulfilled; None if it can."""
    if facts is None:
        return Code.PRODUCT_UNKNOWN
    if not facts.active:
        return Code.PRODUCT_INACTIVE
    if request.currency not in {None, facts.currency}:
        return Code.CURRENCY_CHANGED
    if request.unit_price not in {None, facts.unit_price}:
        return Code.PRICE_CHANGED
    return _short(request.quantity, facts)


def wrong_option(chosen: Mapping[str, str], facts: Facts) -> str | None:
    """The first option that the product offers and that is not chosen from its values; None if all are.

    Options that the product does not name are the shop's own, such as an engraving.
    """
    return next((name for name, values in facts.options.items() if chosen.get(name) not in values), None)


def warnings(
    lines: Iterable[CartLine], currency: str | None, known: Mapping[str, Facts | None]
) -> list[CartWarning]:
    """What has changed for a cart in `currency`: warnings whose target is a line id, in the lines' order.

    `known` has every product of the lines, None for one that does not exist. Stock is compared with the total
    quantity of all lines of the product. A line can have one warning about its price and one about its stock.
    """
    lines = list(lines)
    quantities: dict[str, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    found = []
    for line in lines:
        facts = known[line.product_id]
        first = obstacle(ProductRequest(quantities[line.product_id], line.unit_price, currency), facts)
        codes = [first]
        if first in {Code.PRICE_CHANGED, Code.CURRENCY_CHANGED} and facts is not None:
            codes.append(_short(quantities[line.product_id], facts))
        found += [CartWarning(code.value, line.line_id) for code in codes if code is not None]
    return found


def _short(quantity: int, facts: Facts) -> Code | None:
    if facts.stock is None or quantity <= facts.stock:
        return None
    return Code.SHORT_STOCK if facts.stock else Code.OUT_OF_STOCK
