"""What can be done with an order that has been placed."""

from datetime import UTC, datetime
from functools import partial

import msgspec

from gateway.http import problems
from gateway.http.problems import Problem
from gateway.postgres.database import Connection, Database
from runtime.owners import OrdersOwner
from store.postgres import orders
from store.postgres import products as owner
from topics.records import OrderRecord, OrderStatus


class OrderPage(msgspec.Struct, frozen=True):
    """Orders, newest first, and where the next page begins; no `next_cursor`: this was the last."""

    orders: list[OrderRecord]
    next_cursor: str | None


class OrderService:
    """Reads and cancels orders. Each method raises Problem when Postgres does not answer."""

    def __init__(self, database: Database, kept_by: OrdersOwner) -> None:
        self._database = database
        self._kept_by = kept_by

    async def find(self, order_id: str) -> OrderRecord:
        """The order. Raises Problem if there is none."""
        found = await self._database.transact(partial(orders.find, order_id=order_id))
        if found is None:
            raise _not_found()
        return found

    async def of_cart(self, cart_id: str, before_seq: int | None, limit: int) -> OrderPage:
        """The cart's orders with numbers below `before_seq` (none: all)."""
        found = await self._database.transact(
            partial(orders.of_cart, cart_id=cart_id, before_seq=before_seq, limit=limit + 1)
        )
        page = found[:limit]
        return OrderPage(page, str(page[-1].seq) if len(found) > limit else None)

    async def cancel(self, order_id: str) -> OrderRecord:
        """Cancel the order and put its pieces back into the stock, once; the cart stays as it is.

        Raises Problem.
        """
        if self._kept_by is OrdersOwner.EXTERNAL:
            raise Problem(
                problems.ORDERS_ELSEWHERE,
                "CARTSTREAM_ORDERS_OWNER is external: cancel the order in the system that keeps it.",
            )
        return await self._database.transact(partial(_cancel, order_id=order_id))


async def _cancel(connection: Connection, order_id: str) -> OrderRecord:
    order = await orders.lock(connection, order_id)
    if order is None:
        raise _not_found()
    if order.status is OrderStatus.CANCELLED:
        return order
    reserved = await orders.reserved_quantities(connection, order_id)
    if reserved:
        await owner.give_back(connection, reserved)
    cancelled = await orders.cancel(connection, order, datetime.now(UTC))
    await orders.publish(connection, cancelled)
    return cancelled


def _not_found() -> Problem:
    return Problem(
        problems.ORDER_NOT_FOUND, "There is no order with this id; it is in the reply of the checkout."
    )
