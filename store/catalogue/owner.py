"""Products in Postgres, where this system owns them: each change takes its record along to the outbox."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final, TypeAlias

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool

from carts.errors import CartError
from carts.products import InvalidProduct, Product, ProductContent, check_product
from store.outbox import OutboxRecord, write
from store.queries import queries_of
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
_query: Final = queries_of(__package__)
_attributes: Final = msgspec.json.Decoder(dict[str, Any])


class ProductUnknown(CartError):
    """There is no such product: put it, or look at its id."""

    def __init__(self, product_id: str) -> None:
        self.product_id = product_id
        super().__init__(f"product {product_id!r} does not exist: put it first, or correct the id")


class Imported(msgspec.Struct, frozen=True):
    """What became of a batch: products changed or new, and those that were just so already."""

    changed: int
    unchanged: int


class Shortage(msgspec.Struct, frozen=True):
    """Why pieces cannot be reserved: `product` is what there is (its stock says how much), None: unknown."""

    product_id: str
    quantity: int
    product: Product | None


class Reserved(msgspec.Struct, frozen=True):
    """Pieces taken out of the stock: the products as they are now, and those whose stock is counted."""

    products: dict[str, Product]
    counted: frozenset[str]


class Products:
    """The table `products`. Methods raise psycopg.Error, PoolTimeout among them: nothing was kept then."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        """`pool` is open and belongs to the caller."""
        self._pool = pool

    async def read(self, product_id: str) -> Product | None:
        """The product as it is here; what readers of the cache see follows."""
        async with self._pool.connection() as connection:
            return await _one(connection, product_id)

    async def put(self, content: ProductContent) -> Product:
        """Make the product what `content` says; one that is just so already keeps its version.

        Raises InvalidProduct.
        """
        check_product(content)
        async with self._pool.connection() as connection, connection.transaction():
            changed = await put_all(connection, [content])
            return changed[0] if changed else await _existing(connection, content.product_id)

    async def patch(self, product_id: str, fields: Mapping[str, Any]) -> Product:
        """Change some fields of a product: names and values of ProductContent.

        Raises ProductUnknown, InvalidProduct (a field's bound, or a field that there is not).
        """
        async with self._pool.connection() as connection, connection.transaction():
            before = (await lock(connection, [product_id])).get(product_id)
            if before is None:
                raise ProductUnknown(product_id)
            content = _content(before, fields)
            check_product(content)
            changed = await put_all(connection, [content])
            return changed[0] if changed else before

    async def import_batch(self, contents: Sequence[ProductContent]) -> Imported:
        """Make the products what the batch says, some thousands at once, all or none. Doing it again is safe.

        Of two that have one id the later counts. Raises InvalidProduct.
        """
        for content in contents:
            check_product(content)
        newest = {content.product_id: content for content in contents}
        async with self._pool.connection() as connection, connection.transaction():
            changed = await put_all(connection, list(newest.values()))
        return Imported(len(changed), len(contents) - len(changed))


async def lock(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """Those of the products that exist, locked in the order of their ids until the transaction ends."""
    cursor = await connection.execute(_query("lock_products"), {"product_id": sorted(set(product_ids))})
    return {row[0]: _product(row) for row in await cursor.fetchall()}


async def reserve(connection: Connection, quantities: Mapping[str, int]) -> Reserved | list[Shortage]:
    """Take pieces out of the stock in the caller's transaction, all or none; the records go to the outbox.

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
    """Put pieces back into the stock in the caller's transaction; the records go to the outbox.

    Returns the changed products: those that still exist and whose stock is counted.
    """
    await lock(connection, list(quantities))
    return await _change_stock(connection, quantities)


def _has(product: Product | None, quantity: int) -> bool:
    return product is not None and product.active and (product.stock is None or product.stock >= quantity)


async def _change_stock(connection: Connection, changes: Mapping[str, int]) -> list[Product]:
    names = sorted(changes)
    cursor = await connection.execute(
        _query("change_stock"), {"product_id": names, "change": [changes[name] for name in names]}
    )
    return await _recorded(connection, await cursor.fetchall())


async def put_all(connection: Connection, contents: Sequence[ProductContent]) -> list[Product]:
    """Write the products that differ, in the caller's transaction; the records go to the outbox. Those products."""
    rows = sorted(contents, key=lambda content: content.product_id)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _CONTENT}
    columns["attributes"] = [msgspec.json.encode(attributes).decode() for attributes in columns["attributes"]]
    cursor = await connection.execute(_query("put_products"), columns)
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


async def _one(connection: Connection, product_id: str) -> Product | None:
    cursor = await connection.execute(_query("read_product"), {"product_id": product_id})
    row = await cursor.fetchone()
    return None if row is None else _product(row)


async def _existing(connection: Connection, product_id: str) -> Product:
    product = await _one(connection, product_id)
    if product is None:
        raise ProductUnknown(product_id)
    return product


def _content(before: Product, fields: Mapping[str, Any]) -> ProductContent:
    content = {name: getattr(before, name) for name in _CONTENT}
    for name in fields:
        if name == "product_id" or name not in content:
            raise InvalidProduct(name, "cannot be changed: see the fields of a product")
    return ProductContent(**{**content, **fields})


def _product(row: tuple[Any, ...]) -> Product:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["attributes"] = _attributes.decode(fields["attributes"])
    fields["updated_at"] = fields["updated_at"].astimezone(UTC)
    return Product(**fields)
