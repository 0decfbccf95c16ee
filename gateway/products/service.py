"""What it means to write a product, whoever owns it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from carts.products import Product
from gateway.http import problems
from gateway.http.conditions import ANY
from gateway.http.problems import FieldError, Problem
from gateway.products.requests import PatchProduct, Sent

IfMatch = tuple[str, ...] | None
"""Versions of which one must be the product's, `*`: any; None: no condition."""


class Written(msgspec.Struct, frozen=True):
    """The product as it is now, and whether it is new."""

    product: Product
    created: bool


class Taken(msgspec.Struct, frozen=True):
    """What became of a batch: how many products are new or other than before, and what is wrong by index."""

    changed: int
    errors: dict[int, FieldError] = {}


class ProductWriter(Protocol):
    """Writes products where their owner keeps them. Each method raises Problem."""

    gives_versions: bool
    """Whether versions are given here; otherwise whoever sends a product has to."""

    async def put(self, sent: Sent, if_match: IfMatch) -> Written:
        """Make the product what was sent."""
        ...

    async def patch(self, product_id: str, patch: PatchProduct, if_match: IfMatch) -> Written:
        """Change the fields that the patch names."""
        ...

    async def take(self, batch: Sequence[Sent]) -> Taken:
        """Put many, all but those with errors; asking again does no harm."""
        ...


def require(if_match: IfMatch, version: int | None) -> None:
    """Raise the problem of an If-Match that does not fit; `version` is the product's, None without one."""
    if if_match is None:
        return
    if version is not None and (ANY in if_match or str(version) in if_match):
        return
    current = {} if version is None else {"current": str(version)}
    raise Problem(
        problems.PRECONDITION_FAILED,
        "The product is not at a version named in If-Match; read it, decide again, and send its ETag.",
        headers={"etag": f'"{version}"'} if version is not None else {},
        extra=current,
    )


def not_found(product_id: str) -> Problem:
    """The answer about a product that nobody knows."""
    return Problem(
        problems.PRODUCT_NOT_FOUND,
        f"There is no product {product_id}; GET /v1/products lists all that are sold.",
    )
