"""A catalogue for first users: two dozen products, one a line."""

from importlib.resources import files
from typing import Final

import msgspec

from carts.products import ProductContent

PRODUCTS: Final = "products.ndjson"


def sample_products() -> list[ProductContent]:
    """The products of the sample."""
    lines = (files(__package__) / PRODUCTS).read_bytes()
    return msgspec.json.Decoder(ProductContent).decode_lines(lines)
