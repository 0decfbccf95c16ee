"""The catalogue: the cache that is read, and the interface of a writer, whoever owns the products."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from carts.products import Product
from gateway.http.conditions import Preconditions
from gateway.http.problems import FieldError
from gateway.products import problems
from gateway.products.requests import ImportProduct, PatchProduct, SentProduct
from store.redis.catalogue import ProductCache


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

    async def put(self, sent: SentProduct, preconditions: Preconditions) -> WriteResult:
        """Insert or replace the product."""
        ...

    async def patch(self, product_id: str, patch: PatchProduct, preconditions: Preconditions) -> WriteResult:
        """Change the fields that the patch names."""
        ...

    async def put_many(self, batch: Sequence[ImportProduct]) -> BatchResult:
        """Insert or change many products, except those with errors, line after line.

        Repeating it changes nothing, except that a `stock_change` without `if_version` counts again.
        """
        ...


class Catalogue(msgspec.Struct, frozen=True):
    """What a gateway with a catalogue reads from and writes to."""

    cache: ProductCache
    writer: ProductWriter


def check_preconditions(preconditions: Preconditions, known: Product | None) -> None:
    """Raise Problem when the product may not be changed as it is now (None: there is none)."""
    version = None if known is None else known.version
    if not preconditions.hold(None if version is None else str(version)):
        raise problems.product_changed(version)
