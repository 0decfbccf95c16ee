"""The owner of products on a real Postgres: versions, records in the outbox, stock."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from carts.products import PRODUCT_LIMITS, Product, ProductContent
from store.postgres.migrate import migrate
from store.postgres.products import Reserved, Shortage, give_back, lock, put_all, record_again, reserve
from store.postgres.session import Address
from topics.codec import decode_product, encode_product
from topics.registry import PRODUCTS

Pool = AsyncConnectionPool[AsyncConnection[Any]]


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    """Connections to a migrated database."""
    await asyncio.to_thread(migrate, Address(postgres_url))
    async with AsyncConnectionPool(postgres_url, min_size=1, max_size=8, open=False) as pool:
        yield pool


def content(product_id: str, **fields: Any) -> ProductContent:
    return ProductContent(
        **{
            "product_id": product_id,
            "name": f"Product {product_id}",
            "unit_price": 100,
            "currency": "EUR",
            **fields,
        }
    )


async def put(pool: Pool, *contents: ProductContent) -> list[Product]:
    async with pool.connection() as connection, connection.transaction():
        return await put_all(connection, contents)


async def read(pool: Pool, product_id: str) -> Product | None:
    async with pool.connection() as connection:
        return (await lock(connection, [product_id])).get(product_id)


async def outbox(pool: Pool) -> list[Product]:
    """The products in the outbox, in their order; the outbox is empty then."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT topic, key, value, headers FROM outbox ORDER BY outbox_id")
        rows = await cursor.fetchall()
        await connection.execute("DELETE FROM outbox")
    found = []
    for topic, key, value, headers in rows:
        product = decode_product(value.encode())
        assert (topic, key) == (PRODUCTS.name, product.product_id)
        assert dict(headers)["product_version"] == str(product.version)
        found.append(product)
    return found


async def test_a_product_that_is_put_takes_its_record_along(pool: Pool) -> None:
    shirt = content("shirt", category="Clothing", stock=3, attributes={"sizes": ["S"], "für": None})
    (stored,) = await put(pool, shirt)
    assert stored.attributes == shirt.attributes
    assert await read(pool, "shirt") == stored
    assert await outbox(pool) == [stored]


async def test_no_stock_exceeds_its_bound_when_pieces_come_back(pool: Pool) -> None:
    await put(pool, content("shirt", stock=PRODUCT_LIMITS.stock - 1))
    async with pool.connection() as connection, connection.transaction():
        (shirt,) = await give_back(connection, {"shirt": 3})
    assert shirt.stock == PRODUCT_LIMITS.stock


async def test_each_change_has_a_higher_version_and_no_change_has_none(pool: Pool) -> None:
    (first,) = await put(pool, content("shirt", stock=1))
    assert await put(pool, content("shirt", stock=1)) == []
    (second,) = await put(pool, content("shirt"))
    assert second.version > first.version
    assert second.updated_at > first.updated_at
    assert await outbox(pool) == [first, second]


async def test_changes_at_once_have_versions_in_the_order_of_their_records(pool: Pool) -> None:
    await asyncio.gather(*(put(pool, content("shirt", unit_price=price)) for price in range(30)))
    records = await outbox(pool)
    assert len(records) == 30
    assert [record.version for record in records] == sorted(record.version for record in records)
    assert await read(pool, "shirt") == records[-1]


async def test_an_import_can_be_repeated(pool: Pool) -> None:
    batch = [content(f"p{number}", unit_price=number, stock=number % 3 or None) for number in range(3000)]
    assert len(await put(pool, *batch)) == 3000
    assert await put(pool, *batch) == []
    assert len(await put(pool, *batch[1:], content("p0", name="New"), content("q"))) == 2
    assert len(await outbox(pool)) == 3002


async def test_a_batch_with_a_bad_product_is_not_kept_at_all(pool: Pool) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await put(pool, content("a"), content("b", stock=-1))
    assert await read(pool, "a") is None
    assert await outbox(pool) == []


async def test_imports_and_reservations_at_once_do_not_block_each_other_for_good(pool: Pool) -> None:
    batch = [content(name, stock=1000) for name in ("B", "a", "C", "b", "A", "_", "-", "c")]
    await put(pool, *batch)

    async def buy() -> None:
        for _ in range(20):
            async with pool.connection() as connection, connection.transaction():
                await reserve(connection, {one.product_id: 1 for one in reversed(batch)})

    async def change(price: int) -> None:
        for step in range(20):
            await put(pool, *[msgspec.structs.replace(one, unit_price=price + step) for one in batch])

    await asyncio.wait_for(asyncio.gather(buy(), buy(), change(1000), change(2000)), 60)


async def test_pieces_are_reserved_and_given_back_with_records(pool: Pool) -> None:
    await put(pool, *[content("shirt", stock=5), content("card")])
    await outbox(pool)
    async with pool.connection() as connection, connection.transaction():
        reserved = await reserve(connection, {"shirt": 3, "card": 9})
    assert isinstance(reserved, Reserved)
    assert reserved.counted == {"shirt"}
    assert {name: one.stock for name, one in reserved.products.items()} == {"shirt": 2, "card": None}
    assert await outbox(pool) == [reserved.products["shirt"]]
    async with pool.connection() as connection, connection.transaction():
        (shirt,) = await give_back(connection, {"shirt": 3, "card": 9, "gone": 1})
    assert shirt.stock == 5
    assert shirt.version > reserved.products["shirt"].version
    assert await outbox(pool) == [shirt]


async def test_what_is_short_is_told_and_nothing_is_taken(pool: Pool) -> None:
    await put(
        pool, *[content("shirt", stock=5), content("mug", stock=1), content("lamp", stock=9, active=False)]
    )
    await outbox(pool)
    async with pool.connection() as connection, connection.transaction():
        shortages = await reserve(connection, {"shirt": 5, "mug": 2, "lamp": 1, "gone": 1})
    mug, lamp = await read(pool, "mug"), await read(pool, "lamp")
    assert shortages == [Shortage("gone", 1, None), Shortage("lamp", 1, lamp), Shortage("mug", 2, mug)]
    assert await outbox(pool) == []


async def test_a_transaction_that_fails_takes_neither_pieces_nor_leaves_a_record(pool: Pool) -> None:
    await put(pool, content("shirt", stock=5))
    await outbox(pool)
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        assert isinstance(await reserve(connection, {"shirt": 3}), Reserved)
    shirt = await read(pool, "shirt")
    assert shirt is not None
    assert shirt.stock == 5
    assert await outbox(pool) == []


async def test_fifty_buyers_of_ten_pieces_get_ten(pool: Pool) -> None:
    await put(pool, content("shirt", stock=10))

    async def buy() -> bool:
        async with pool.connection() as connection, connection.transaction():
            return isinstance(await reserve(connection, {"shirt": 1}), Reserved)

    assert sum(await asyncio.gather(*(buy() for _ in range(50)))) == 10
    records = await outbox(pool)
    assert [record.stock for record in records] == list(range(10, -1, -1))
    assert [record.version for record in records] == sorted(record.version for record in records)


async def test_locked_products_wait_for_the_end_of_the_transaction(pool: Pool) -> None:
    await put(pool, content("shirt"))
    async with pool.connection() as connection, connection.transaction():
        locked = await lock(connection, ["shirt", "gone", "shirt"])
        assert set(locked) == {"shirt"}
        patching = asyncio.create_task(put(pool, content("shirt", unit_price=1)))
        async with pool.connection() as other:
            cursor = await other.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            )
            while await cursor.fetchone() == (0,):
                cursor = await other.execute(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                )
        assert not patching.done()
    assert [one.unit_price for one in await patching] == [1]


async def test_the_documented_statements_raise_the_versions_above_all_given_before(pool: Pool) -> None:
    before = await put(pool, *(content(name) for name in ("a", "b")))
    operations = (
        Path(__file__).parents[3].joinpath("docs/how-to/recover-a-lost-store.md").read_text(encoding="utf-8")
    )
    (statements,) = re.findall(r"```sql\n(SELECT setval\('product_versions'.*?)```", operations, re.DOTALL)
    async with pool.connection() as connection:
        await connection.execute("SELECT setval('product_versions', 1)")  # as in an older backup
        for statement in statements.strip().split(";\n"):
            await connection.execute(statement)
        raised = await record_again(connection, "", 10)
    assert min(one.version for one in raised) > 1_000_000_000_000 > max(one.version for one in before)
    assert all(decode_product(encode_product(one)) == one for one in raised)


async def test_all_products_can_be_recorded_again_page_by_page(pool: Pool) -> None:
    await put(pool, *(content(name) for name in ("B", "a", "C", "b")))
    await outbox(pool)
    async with pool.connection() as connection:
        first = await record_again(connection, "", 3)
        second = await record_again(connection, first[-1].product_id, 3)
        assert await record_again(connection, second[-1].product_id, 3) == []
    assert [one.product_id for one in (*first, *second)] == ["B", "C", "a", "b"]
    assert await outbox(pool) == [*first, *second]
