"""Products that this system owns: each change is a transaction in Postgres, with its record in the outbox."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from carts.products import Product, ProductContent
from gateway.http.conditions import Preconditions
from gateway.http.problems import FieldError, Problem
from gateway.postgres.database import Connection, Database
from gateway.products import problems
from gateway.products.requests import (
    ImportProduct,
    PatchProduct,
    SentProduct,
    error_of,
    imported,
    patched,
)
from gateway.products.service import BatchResult, WriteResult, check_preconditions
from store.postgres.products import lock, put_all


class InternalProducts:
    """Writes products in transactions; readers see them a moment later, when the cache has followed."""

    gives_versions = True

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    async def put(self, sent: SentProduct, preconditions: Preconditions) -> WriteResult:
        """Insert or replace the product; an equal one keeps its version."""
        return await self._database.transact(partial(_put, content=sent.content, preconditions=preconditions))

    async def patch(self, product_id: str, patch: PatchProduct, preconditions: Preconditions) -> WriteResult:
        """Change the fields that the patch names."""
        return await self._database.transact(
            partial(_patch, product_id=product_id, patch=patch, preconditions=preconditions)
        )

    async def put_many(self, batch: Sequence[ImportProduct]) -> BatchResult:
        """Insert or change many in one transaction, line after line."""
        return await self._database.transact(partial(_put_many, batch=batch))


async def _put(connection: Connection, content: ProductContent, preconditions: Preconditions) -> WriteResult:
    known = await _locked(connection, content.product_id)
    check_preconditions(preconditions, known)
    changed = await put_all(connection, [content])
    # Unchanged and unknown before: a concurrent request has put an equal one.
    product = changed[0] if changed else known or await _locked(connection, content.product_id)
    if product is None:
        raise problems.product_not_found(content.product_id)
    return WriteResult(product, created=known is None)


async def _patch(
    connection: Connection, product_id: str, patch: PatchProduct, preconditions: Preconditions
) -> WriteResult:
    known = await _locked(connection, product_id)
    check_preconditions(preconditions, known)
    if known is None:
        raise problems.product_not_found(product_id)
    content = patched(known, patch)
    changed = await put_all(connection, [content])
    return WriteResult(changed[0] if changed else known, created=False)


async def _put_many(connection: Connection, batch: Sequence[ImportProduct]) -> BatchResult:
    known = await lock(connection, [line.product_id for line in batch])
    contents: dict[str, ProductContent] = {}
    errors: dict[int, FieldError] = {}
    for index, line in enumerate(batch):
        name = line.product_id
        try:
            contents[name] = imported(line, known.get(name), contents.get(name))
        except Problem as problem:
            errors[index] = error_of(problem)
    changed = await put_all(connection, list(contents.values()))
    return BatchResult(len(changed), errors)


async def _locked(connection: Connection, product_id: str) -> Product | None:
    return (await lock(connection, [product_id])).get(product_id)
