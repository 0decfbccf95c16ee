"""Products: what the catalogue knows of each, its bounds, and the few facts that a cart needs."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from carts.errors import CartError, InvalidIdentifier
from carts.ids import check_product_id
from carts.limits import LIMITS, MAX_SAFE_INTEGER
from carts.numbers import ADVICE, keeps_its_size
from carts.operations import Metadata

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_IMAGE_URL: Final = re.compile(r"https?://[\x21-\x7e]+|/[\x21-\x7e]*")
# As JSON escapes the character that Postgres keeps in no text.
_NUL_ESCAPE: Final = b"\\u0000"


class ProductLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one product."""

    name: int = 200
    """Characters."""
    description: int = 10_000
    """Characters."""
    category: int = 100
    """Characters."""
    image_url: int = 2_000
    """Characters."""
    attributes_bytes: int = 16 * 1024
    """JSON of the attributes."""
    attributes_depth: int = 32
    """Levels of nesting of the attributes."""
    stock: int = 2**40 - 1
    """Pieces."""


PRODUCT_LIMITS: Final = ProductLimits()


class ProductContent(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of products says of one. `unit_price` in minor units of `currency` (ISO 4217).

    `stock` is the number of pieces left to order, None where nobody counts. An inactive product stays known
    but cannot be bought and is not listed. An image is a URL and never content.
    """

    product_id: str
    name: str
    unit_price: int
    currency: str
    description: str = ""
    category: str | None = None
    stock: int | None = None
    active: bool = True
    image_url: str | None = None
    attributes: Metadata = {}


class Product(ProductContent, frozen=True, kw_only=True):
    """A product as of `version`, a number that only rises for a product: readers pass a lower one over."""

    version: int
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)]


class Facts(msgspec.Struct, frozen=True):
    """What pricing, stock checks and the lines of a cart need of a product; `options`: the values of each."""

    version: int
    unit_price: int
    currency: str
    stock: int | None
    active: bool
    name: str
    image_url: str | None = None
    options: dict[str, tuple[str, ...]] = {}


class InvalidProduct(CartError):
    """A product that the catalogue cannot take; `field` is to blame, `advice` says what to send instead."""

    def __init__(self, field: str, advice: str) -> None:
        self.field = field
        self.advice = advice
        super().__init__(f"{field} {advice}")


def facts_of(product: Product) -> Facts:
    """The facts of a product."""
    return Facts(
        product.version,
        product.unit_price,
        product.currency,
        product.stock,
        product.active,
        product.name,
        product.image_url,
        options_of(product.attributes),
    )


def options_of(attributes: Metadata) -> dict[str, tuple[str, ...]]:
    """The options that a product offers, by name with their values: its attribute `options`.

    Attributes are free: what is not a list of values says nothing.
    """
    named = attributes.get("options")
    if not isinstance(named, dict):
        return {}
    return {
        name: tuple(values)
        for name, values in named.items()
        if isinstance(values, list) and values and all(isinstance(value, str) for value in values)
    }


def with_version(content: ProductContent, version: int, updated_at: datetime) -> Product:
    """The product that `content` is as of `version`."""
    return Product(**msgspec.structs.asdict(content), version=version, updated_at=updated_at)


def check_product(product: ProductContent, limits: ProductLimits = PRODUCT_LIMITS) -> None:
    """Raise InvalidProduct for what breaks a bound: an id, a text, a price, a version."""
    try:
        check_product_id(product.product_id)
    except InvalidIdentifier as error:
        raise InvalidProduct("product_id", f"is not valid: {error.advice}") from error
    _check_texts(product, limits)
    _check_between("unit_price", product.unit_price, 0, LIMITS.unit_price)
    if not _CURRENCY.fullmatch(product.currency):
        raise InvalidProduct("currency", "is no ISO 4217 code: use three capital letters, for example EUR")
    if product.stock is not None:
        _check_between("stock", product.stock, 0, limits.stock)
    _check_attributes(product.attributes, limits)
    _check_storable(product)
    if isinstance(product, Product):
        _check_between("version", product.version, 1, MAX_SAFE_INTEGER)


def _check_texts(product: ProductContent, limits: ProductLimits) -> None:
    if not product.name.strip():
        raise InvalidProduct("name", "is empty: give the product a name")
    for field, bound in (
        ("name", limits.name),
        ("description", limits.description),
        ("category", limits.category),
        ("image_url", limits.image_url),
    ):
        _check_length(field, getattr(product, field), bound)
    for field in ("name", "category"):
        if _CONTROL.search(getattr(product, field) or ""):
            raise InvalidProduct(field, "contains a control character, such as a line feed: remove it")
    if product.category is not None and not product.category.strip():
        raise InvalidProduct("category", "is empty: name a category or leave it out")
    if product.image_url is not None and not _IMAGE_URL.fullmatch(product.image_url):
        raise InvalidProduct("image_url", "is no address: use https://…, http://… or /path, without blanks")


def _check_length(field: str, text: str | None, bound: int) -> None:
    if text is not None and len(text) > bound:
        raise InvalidProduct(field, f"has {len(text)} characters: use at most {bound}")


def _check_between(field: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise InvalidProduct(field, f"is {number}: use {least} to {most}")


def _check_attributes(attributes: Metadata, limits: ProductLimits) -> None:
    if _deeper_than(attributes, limits.attributes_depth):
        raise InvalidProduct("attributes", f"nest too deep: use at most {limits.attributes_depth} levels")
    if not keeps_its_size(attributes):
        raise InvalidProduct("attributes", f"contain a number that no store keeps as it is: use {ADVICE}")
    size = len(msgspec.json.encode(attributes))
    if size > limits.attributes_bytes:
        raise InvalidProduct(
            "attributes", f"take {size} bytes of JSON: use at most {limits.attributes_bytes}"
        )


def _check_storable(product: ProductContent) -> None:
    if _NUL_ESCAPE not in msgspec.json.encode(product):
        return
    for field, value in msgspec.structs.asdict(product).items():
        if _has_nul(value):
            raise InvalidProduct(field, "contains the character U+0000, which cannot be stored: remove it")


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(key) or _has_nul(member) for key, member in value.items())
        case list():
            return any(_has_nul(member) for member in value)
        case _:
            return False


def _deeper_than(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(
        _deeper_than(member, levels - 1) for member in (value.values() if isinstance(value, dict) else value)
    )
