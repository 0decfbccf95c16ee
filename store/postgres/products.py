"""Products in Postgres, where this system owns them: each change writes its record to the outbox.

Each function works in the caller's transaction and raises psycopg.Error when Postgres fails.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final, TypeAlias

import msgspec
import psycopg

from carts.products import PRODUCT_LIMITS, Product, ProductContent
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
    """A quantity that cannot be reserved; `product` has the stock that is left, None: there is no product."""

    product_id: str
    quantity: int
    product: Product | None


class Reserved(msgspec.Struct, frozen=True):
    """What was taken out of the stock: the products as they are now, and which have a counted stock."""

    products: dict[str, Product]
    counted: frozenset[str]


async def lock(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """The products that exist, locked in the order of their ids until the transaction ends."""
    cursor = await connection.execute(_query("lock_products"), {"product_id": sorted(set(product_ids))})
    return {row[0]: _product(row) for row in await cursor.fetchall()}


async def put_all(connection: Connection, contents: Sequence[ProductContent]) -> list[Product]:
    """Insert or replace up to some thousand products in one statement; the records go to the outbox.

    `contents` are checked already (carts.products), one for each id. Returns the products that were new or
    different; an equal one keeps its version, so repeating a call is safe. All their rows are locked.
    """
    rows = sorted(contents, key=lambda content: content.product_id)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _CONTENT}
    columns["attributes"] = [msgspec.json.encode(attributes).decode() for attributes in columns["attributes"]]
    cursor = await connection.execute(_query("put_products"), columns)
    return await _recorded(connection, await cursor.fetchall())


async def reserve(connection: Connection, quantities: Mapping[str, int]) -> Reserved | list[Shortage]:
    """Take the quantities (by product id) out of the stock, all or none; the records go to the outbox.

    Returns the shortages, in the order of the ids, if there are any; then nothing was changed, and the
    products that exist are locked. A product that is inactive or does not exist is a shortage too.
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
    """Put the quantities (by product id) back into the stock; the records go to the outbox.

    Returns the changed products: those that still exist and whose stock is counted. None exceeds its bound.
    """
    await lock(connection, list(quantities))
    return await _change_stock(connection, quantities)


async def record_again(connection: Connection, after: str, limit: int) -> list[Product]:
    """Write the records of the next `limit` products after the id `after` to the outbox, unchanged.

    For a topic that was lost. Returns these products; they are locked until the transaction ends.
    """
    cursor = await connection.execute(_query("products_after"), {"after": after, "limit": limit})
    return await _recorded(connection, await cursor.fetchall())


async def products_after(connection: Connection, after: str, limit: int) -> list[Product]:
    """The next `limit` products after the id `after`, by id; nothing is locked."""
    cursor = await connection.execute(_query("products_to_export"), {"after": after, "limit": limit})
    return [_product(row) for row in await cursor.fetchall()]


def _has(product: Product | None, quantity: int) -> bool:
    return product is not None and product.active and (product.stock is None or product.stock >= quantity)


async def _change_stock(connection: Connection, changes: Mapping[str, int]) -> list[Product]:
    names = sorted(changes)
    cursor = await connection.execute(
        _query("change_stock"),
        {
            "product_id": names,
            "change": [changes[name] for name in names],
            "most": PRODUCT_LIMITS.stock,
        },
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
