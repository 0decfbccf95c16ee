"""The catalogue: the cache that is read, and the interface of a writer, whoever owns the products."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from carts.products import Product
from gateway.http.conditions import ANY
from gateway.http.problems import FieldError
from gateway.products import problems
from gateway.products.requests import PatchProduct, SentProduct
from store.redis.catalogue import ProductCache

IfMatch = tuple[str, ...] | None
"""Versions of which one must be the product's; `*` matches any; None: no condition."""


class WriteResult(msgspec.Struct, frozen=True):
    """The product as it is now, and whether it is new."""

    product: Product
    created: bool


class BatchResult(msgspec.Struct, frozen=True):
    """How many products of a batch are new or changed, and the errors by index in the batch."""

    changed: int
    errors: dict[int, FieldError] = {}


class ProductWriter(Protocol):
    """Writes products where their owner keeps them. Each method raises Problem."""

    gives_versions: bool
    """Whether this system gives the versions. If not, each sent product must have one."""

    async def put(self, sent: SentProduct, if_match: IfMatch) -> WriteResult:
        """Insert or replace the product."""
        ...

    async def patch(self, product_id: str, patch: PatchProduct, if_match: IfMatch) -> WriteResult:
        """Change the fields that the patch names."""
        ...

    async def put_many(self, batch: Sequence[SentProduct]) -> BatchResult:
        """Insert or replace many products, except those with errors. Repeating it is safe."""
        ...


class Catalogue(msgspec.Struct, frozen=True):
    """What a gateway with a catalogue reads from and writes to."""

    cache: ProductCache
    writer: ProductWriter


def check_if_match(if_match: IfMatch, version: int | None) -> None:
    """Raise Problem when If-Match does not match `version`, the product's (None: there is no product)."""
    if if_match is None:
        return
    if version is None or not {ANY, str(version)} & {*if_match}:
        raise problems.product_changed(version)
