"""Rows in Postgres as the sink writes them, made by a test from the records of `cart-changed`."""

from collections.abc import Iterable

import msgspec
import psycopg

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from carts.view import view
from topics.codec import decode_change

_INSERT = """
INSERT INTO carts
    (cart_id, v, n, digest, status, currency, subtotal, lines, metadata, state, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (cart_id) DO UPDATE
SET v = excluded.v, n = excluded.n, digest = excluded.digest, state = excluded.state
"""


def state_of(values: Iterable[bytes]) -> State:
    """The fold of `cart-changed` values of one cart."""
    state: State | None = None
    for value in values:
        state = fold(state, decode_change(value)).state
    assert state is not None
    return state


def born(cart_id: str, v: int, product_id: str = "sku-1", quantity: int = 1) -> State:
    """The state of a cart with one add, at version `v`."""
    step = Add(product_id, quantity, 1999, "EUR", Item(product_id))
    state = fold(None, Change(cart_id=cart_id, version=v, op_id=f"born-{v}", delta=(step,), born=v)).state
    assert state is not None
    return state


async def insert(postgres_url: str, cart_id: str, state: State) -> None:
    """Write the cart's row."""
    seen, version = view(cart_id, state), state.version
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(
            _INSERT,
            (
                cart_id,
                version.number,
                version.operation_count,
                version.digest,
                seen.status.value,
                seen.currency,
                seen.totals.subtotal,
                msgspec.json.encode(seen.lines).decode(),
                msgspec.json.encode(seen.metadata).decode(),
                msgspec.json.encode(state).decode(),
                seen.created_at,
                seen.updated_at,
            ),
        )
