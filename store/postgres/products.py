"""Products in Postgres, where this system owns them: each change takes its record along to the outbox.

Each function works in the caller's transaction and raises psycopg.Error when Postgres fails.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final, TypeAlias

import msgspec
import psycopg

from carts.products import Product, ProductContent
from store.postgres.outbox import OutboxRecord, write
from store.postgres.queries import queries_of
from topics.codec import encode_product
from topics.headers import product_headers
from topics.registry import PRODUCTS

Connection: TypeAlias = psycopg.AsyncConnection[Any]

_CONTENT: Final = ProductContent.__struct_fields__
_COLUMNS: Final = (
    "product_id",
    "version",
    "name",
    "description",
    "category",
    "unit_price",
    "currency",
    "stock",
    "active",
    "image_url",
    "attributes",
    "updated_at",
)
_query: Final = queries_of("products")
_attributes: Final = msgspec.json.Decoder(dict[str, Any])


class Shortage(msgspec.Struct, frozen=True):
    """Why pieces cannot be reserved: `product` is what there is (its stock says how much), None: unknown."""

    product_id: str
    quantity: int
    product: Product | None


class Reserved(msgspec.Struct, frozen=True):
    """Pieces taken out of the stock: the products as they are now, and those whose stock is counted."""

    products: dict[str, Product]
    counted: frozenset[str]


async def lock(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """Those of the products that exist, locked in the order of their ids until the transaction ends."""
    cursor = await connection.execute(_query("lock_products"), {"product_id": sorted(set(product_ids))})
    return {row[0]: _product(row) for row in await cursor.fetchall()}


async def put_all(connection: Connection, contents: Sequence[ProductContent]) -> list[Product]:
    """Make the products what `contents` say, some thousands in one statement; the records go to the outbox.

    Returns those that differed or were new: one that was just so already keeps its version, and doing it
    again is safe. The contents are checked (carts.products), one for each id. All their rows are locked.
    """
    rows = sorted(contents, key=lambda content: content.product_id)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _CONTENT}
    columns["attributes"] = [msgspec.json.encode(attributes).decode() for attributes in columns["attributes"]]
    cursor = await connection.execute(_query("put_products"), columns)
    return await _recorded(connection, await cursor.fetchall())


async def reserve(connection: Connection, quantities: Mapping[str, int]) -> Reserved | list[Shortage]:
    """Take pieces out of the stock, all or none; the records go to the outbox.

    `quantities` are pieces by product id. Shortages, in the order of the ids: nothing was changed, and the
    products that exist are locked. One that is inactive or unknown is one, too.
    """
    products = await lock(connection, list(quantities))
    shortages = [
        Shortage(product_id, quantity, products.get(product_id))
        for product_id, quantity in sorted(quantities.items())
        if not _has(products.get(product_id), quantity)
    ]
    if shortages:
        return shortages
    changed = await _change_stock(connection, {name: -quantity for name, quantity in quantities.items()})
    return Reserved(
        products | {one.product_id: one for one in changed}, frozenset(one.product_id for one in changed)
    )


async def give_back(connection: Connection, quantities: Mapping[str, int]) -> list[Product]:
    """Put pieces back into the stock; the records go to the outbox.

    Returns the changed products: those that still exist and whose stock is counted.
    """
    await lock(connection, list(quantities))
    return await _change_stock(connection, quantities)


async def record_again(connection: Connection, after: str, limit: int) -> list[Product]:
    """Put the records of the next `limit` products after the id `after` into the outbox, as they are.

    For a topic that was lost. Returns these products, which are locked until the transaction ends.
    """
    cursor = await connection.execute(_query("products_after"), {"after": after, "limit": limit})
    return await _recorded(connection, await cursor.fetchall())


def _has(product: Product | None, quantity: int) -> bool:
    return product is not None and product.active and (product.stock is None or product.stock >= quantity)


async def _change_stock(connection: Connection, changes: Mapping[str, int]) -> list[Product]:
    names = sorted(changes)
    cursor = await connection.execute(
        _query("change_stock"), {"product_id": names, "change": [changes[name] for name in names]}
    )
    return await _recorded(connection, await cursor.fetchall())


async def _recorded(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Product]:
    products = [_product(row) for row in rows]
    await write(
        connection,
        [
            OutboxRecord(PRODUCTS.name, one.product_id, encode_product(one), product_headers(one))
            for one in products
        ],
    )
    return products


def _product(row: tuple[Any, ...]) -> Product:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["attributes"] = _attributes.decode(fields["attributes"])
    fields["updated_at"] = fields["updated_at"].astimezone(UTC)
    return Product(**fields)
