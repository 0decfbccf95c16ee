"""Statements find rows by keys, though they were prepared while the tables were small."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from psycopg import sql

from store.postgres import carts, history, orders, products
from store.postgres.session import Address, SessionConnection, connect

PREPARED = 12
"""psycopg prepares a statement that comes again, Postgres chooses a plan for good after five more."""
ROWS = sql.SQL("""
    INSERT INTO carts (cart_id, v, n, digest, status, subtotal, lines, metadata, state, window_bytes)
    SELECT 'user:' || number, 1, 1, 1, 'active', 0, '[]', '{{}}', '{{}}', 2
    FROM generate_series({first}, {last}) AS number;
    INSERT INTO products (product_id, name, unit_price, currency, stock, active)
    SELECT 'sku-' || number, 'A product', 100, 'EUR', 1000, true
    FROM generate_series({first}, {last}) AS number;
    INSERT INTO orders (order_id, cart_id, seq, status, document, subtraction, snapshot_v, placed_at)
    SELECT 'order-' || number, 'user:' || number, 1, 'placed', '{{}}', '{{}}', 1, now()
    FROM generate_series({first}, {last}) AS number;
    INSERT INTO cart_changes (cart_id, v, op_id, day, operation, previous_v, born)
    SELECT 'user:' || number, 1, 'a', current_date, '[]', 0, 0
    FROM generate_series({first}, {last}) AS number
""")
READ = """
    SELECT sum(pg_stat_get_xact_tuples_returned(oid))::integer FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
"""
MOST = 6
Work: TypeAlias = Callable[[SessionConnection], Awaitable[object]]
WORK: dict[str, Work] = {
    "look up carts": lambda session: carts.look_up(session, {"user:1": 1}),
    "delete carts": lambda session: carts.delete(session, [carts.Deletion("user:1", 1, 1)]),
    "reserve products": lambda session: products.reserve(session, {"sku-1": 1}),
    "settle orders": lambda session: orders.settle(session, ["order-1"]),
    "erase changes": lambda session: history.erase(session, [("user:1", 2)]),
}


async def rows_read(session: SessionConnection) -> int:
    """How many rows and entries of indexes the session has read."""
    found = await (await session.execute(READ)).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize("statistics", ["SELECT", "ANALYZE"], ids=["unknown", "of-small-tables"])
@pytest.mark.parametrize("work", WORK.values(), ids=list(WORK))
async def test_a_row_is_found_among_few(database: str, work: Work, statistics: str) -> None:
    async with await connect(Address(database), name="test") as session:
        await session.execute(ROWS.format(first=1, last=2))
        await session.execute(statistics)
        for _ in range(PREPARED):
            await work(session)
        await session.execute(ROWS.format(first=3, last=5000))
        async with session.transaction():
            before = await rows_read(session)
            await work(session)
            assert await rows_read(session) - before <= MOST
