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
    CREATE TEMPORARY TABLE numbers AS SELECT generate_series({first}, {last}) AS number;
    INSERT INTO carts (cart_id, v, n, digest, status, subtotal, lines, metadata, state, window_bytes)
    SELECT 'user:' || number, 1, 1, 1, 'active', 0, '[]', '{{}}', '{{}}', 2 FROM numbers;
    INSERT INTO products (product_id, name, unit_price, currency, stock, active)
    SELECT 'sku-' || number, 'A product', 100, 'EUR', 1000, true FROM numbers;
    INSERT INTO orders (order_id, cart_id, seq, status, document, subtraction, snapshot_v, placed_at)
    SELECT 'order-' || number, 'user:' || number, 1, 'placed', '{{}}', '{{}}', 1, now() FROM numbers;
    INSERT INTO cart_changes (cart_id, v, op_id, day, operation, previous_v, born)
    SELECT 'user:' || number, 1, 'a', current_date, '[]', 0, 0 FROM numbers;
    DROP TABLE numbers
""")
READ_WHOLE = "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
Work: TypeAlias = Callable[[SessionConnection], Awaitable[object]]
WORK: dict[str, Work] = {
    "look up carts": lambda session: carts.look_up(session, {"user:1": 1}),
    "delete carts": lambda session: carts.delete(session, [carts.Deletion("user:1", 1, 1)]),
    "reserve products": lambda session: products.reserve(session, {"sku-1": 1}),
    "settle orders": lambda session: orders.settle(session, ["order-1"]),
    "erase changes": lambda session: history.erase(session, [("user:1", 2)]),
}


@pytest.mark.parametrize("work", WORK.values(), ids=list(WORK))
async def test_no_table_is_read_as_a_whole(database: str, work: Work) -> None:
    async with await connect(Address(database), name="test") as session:
        await session.execute(ROWS.format(first=1, last=2))
        for _ in range(PREPARED):
            await work(session)
        await session.execute(ROWS.format(first=3, last=5000))
        async with session.transaction():
            await work(session)
            assert await (await session.execute(READ_WHOLE)).fetchall() == []
