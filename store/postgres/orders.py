"""Read and write the tables of orders, in the caller's transaction, with their records for Kafka."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg

from carts.operations import Delta
from carts.state import State
from store.postgres import outbox
from store.postgres.order_records import PlacedOrder, Position, UnsettledOrder
from store.postgres.outbox import OutboxRecord
from store.postgres.queries import queries_of
from topics.headers import order_headers
from topics.records import OrderRecord, OrderStatus
from topics.registry import ORDERS

Connection = psycopg.AsyncConnection[Any]

query: Final = queries_of("orders")

_encoder: Final = msgspec.json.Encoder()
_record: Final = msgspec.json.Decoder(OrderRecord)
_delta: Final = msgspec.json.Decoder(Delta)
_state: Final = msgspec.json.Decoder(State)


async def find(connection: Connection, order_id: str) -> OrderRecord | None:
    """The order, if there is one."""
    row = await _one(connection, "order_by_id", order_id=order_id)
    return None if row is None else _record.decode(row[0])


async def find_placed(connection: Connection, order_id: str) -> PlacedOrder | None:
    """The order with its subtraction, if there is one."""
    return _placed(await _one(connection, "placed_order", order_id=order_id))


async def find_by_key(connection: Connection, cart_id: str, key: str) -> PlacedOrder | None:
    """The order that the cart's client placed with this Idempotency-Key."""
    return _placed(await _one(connection, "order_by_key", cart_id=cart_id, key=key))


async def latest(connection: Connection, cart_id: str) -> PlacedOrder | None:
    """The cart's order with the highest number."""
    return _placed(await _one(connection, "latest_order", cart_id=cart_id))


async def of_cart(
    connection: Connection, cart_id: str, before_seq: int | None, limit: int
) -> list[OrderRecord]:
    """The cart's orders, newest first, with numbers below `before_seq` (None: all), at most `limit`."""
    cursor = await connection.execute(
        query("orders_of_cart"), {"cart_id": cart_id, "before_seq": before_seq, "limit": limit}
    )
    return [_record.decode(document) for (document,) in await cursor.fetchall()]


async def insert(
    connection: Connection,
    order: PlacedOrder,
    *,
    key: str | None = None,
    reserved: Collection[str] = (),
) -> None:
    """Write a new order.

    `key` is the Idempotency-Key that placed it, None for an external checkout. `reserved` has the products
    that were taken out of a counted stock. Raises psycopg.errors.UniqueViolation when the order's number or
    key is taken.
    """
    record = order.record
    await connection.execute(
        query("insert_order"),
        {
            "order_id": record.order_id,
            "cart_id": record.cart_id,
            "seq": record.seq,
            "key": key,
            "fingerprint": order.fingerprint,
            "status": record.status.value,
            "document": _encoder.encode(record).decode(),
            "subtraction": _encoder.encode(order.subtraction).decode(),
            "snapshot_v": order.snapshot_version,
            "placed_at": record.placed_at,
        },
    )
    lines = record.lines
    await connection.execute(
        query("insert_order_lines"),
        {
            "order_id": record.order_id,
            "line_ids": [line.line_id for line in lines],
            "product_ids": [line.product_id for line in lines],
            "quantities": [line.quantity for line in lines],
            "unit_prices": [line.unit_price for line in lines],
            "reserved": [line.product_id in reserved for line in lines],
        },
    )


async def publish(connection: Connection, record: OrderRecord) -> None:
    """Write an order's record to the outbox. The caller has inserted or locked the order's row."""
    value = _encoder.encode(record)
    await outbox.write(connection, [OutboxRecord(ORDERS.name, record.order_id, value, order_headers(record))])


async def lock(connection: Connection, order_id: str) -> OrderRecord | None:
    """The order, its row locked until the transaction ends."""
    row = await _one(connection, "lock_order", order_id=order_id)
    return None if row is None else _record.decode(row[0])


async def reserved_quantities(connection: Connection, order_id: str) -> dict[str, int]:
    """By product, the quantity that the order has taken out of counted stocks."""
    cursor = await connection.execute(query("reserved_quantities"), {"order_id": order_id})
    return {product_id: int(quantity) for product_id, quantity in await cursor.fetchall()}


async def cancel(connection: Connection, record: OrderRecord, now: datetime) -> OrderRecord:
    """Mark a locked order as cancelled; the order as it is now."""
    cancelled = msgspec.structs.replace(
        record, status=OrderStatus.CANCELLED, version=record.version + 1, cancelled_at=now
    )
    await connection.execute(
        query("cancel_order"),
        {
            "order_id": record.order_id,
            "status": cancelled.status.value,
            "document": _encoder.encode(cancelled).decode(),
            "cancelled_at": now,
        },
    )
    return cancelled


async def unsettled(
    connection: Connection, after: Position, grace: timedelta, limit: int
) -> list[UnsettledOrder]:
    """Orders not yet seen in their carts, after `after`, oldest first; none younger than `grace`."""
    cursor = await connection.execute(
        query("unsettled_orders"),
        {"grace": grace, "after_placed": after.placed_at, "after_id": after.order_id, "limit": limit},
    )
    found = []
    for order_id, cart_id, placed_at, delta, snapshot_version, json in await cursor.fetchall():
        state, unreadable = None, None
        try:
            state = None if json is None else _state.decode(json)
        except msgspec.MsgspecError as error:
            unreadable = str(error)
        found.append(
            UnsettledOrder(
                position=Position(placed_at, order_id),
                order_id=order_id,
                cart_id=cart_id,
                subtraction=_delta.decode(delta),
                snapshot_version=snapshot_version,
                state=state,
                unreadable=unreadable,
            )
        )
    return found


async def settle(connection: Connection, order_ids: Sequence[str]) -> None:
    """Mark the orders as settled: their carts have their subtractions, or will never need them."""
    await connection.execute(query("settle_orders"), {"order_ids": list(order_ids)})


async def _one(connection: Connection, name: str, **parameters: object) -> tuple[Any, ...] | None:
    cursor = await connection.execute(query(name), parameters)
    row: tuple[Any, ...] | None = await cursor.fetchone()
    return row


def _placed(row: tuple[Any, ...] | None) -> PlacedOrder | None:
    if row is None:
        return None
    document, fingerprint, delta, snapshot_version, settled = row
    return PlacedOrder(
        record=_record.decode(document),
        fingerprint=fingerprint,
        subtraction=_delta.decode(delta),
        snapshot_version=snapshot_version,
        settled=settled,
    )
