"""Products that this system owns: the table in Postgres, whose outbox tells the topic."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from carts.products import Product, ProductContent
from gateway.postgres.database import Connection, Database
from gateway.products.requests import PatchProduct, Sent, patched
from gateway.products.service import IfMatch, Taken, Written, not_found, require
from store.postgres.products import lock, put_all


class InternalProducts:
    """Writes products in transactions; readers see them when the cache has followed, a moment later."""

    gives_versions = True

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    async def put(self, sent: Sent, if_match: IfMatch) -> Written:
        """Make the product what was sent; one that is just so already keeps its version."""
        return await self._database.transact(partial(_put, content=sent.content, if_match=if_match))

    async def patch(self, product_id: str, patch: PatchProduct, if_match: IfMatch) -> Written:
        """Change the fields that the patch names."""
        return await self._database.transact(
            partial(_patch, product_id=product_id, patch=patch, if_match=if_match)
        )

    async def take(self, batch: Sequence[Sent]) -> Taken:
        """Put many in one transaction; of two lines about one product the later counts."""
        newest = {sent.content.product_id: sent.content for sent in batch}
        changed = await self._database.transact(partial(put_all, contents=list(newest.values())))
        return Taken(len(changed))


async def _put(connection: Connection, content: ProductContent, if_match: IfMatch) -> Written:
    known = await _locked(connection, content.product_id)
    require(if_match, None if known is None else known.version)
    changed = await put_all(connection, [content])
    # Unchanged and unknown before: somebody has put just the same meanwhile.
    product = changed[0] if changed else known or await _locked(connection, content.product_id)
    if product is None:
        raise not_found(content.product_id)
    return Written(product, created=known is None)


async def _patch(connection: Connection, product_id: str, patch: PatchProduct, if_match: IfMatch) -> Written:
    known = await _locked(connection, product_id)
    require(if_match, None if known is None else known.version)
    if known is None:
        raise not_found(product_id)
    content = patched(known, patch)
    changed = await put_all(connection, [content])
    return Written(changed[0] if changed else known, created=False)


async def _locked(connection: Connection, product_id: str) -> Product | None:
    return (await lock(connection, [product_id])).get(product_id)
