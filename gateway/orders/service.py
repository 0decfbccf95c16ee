"""Read, list and cancel orders."""

from datetime import UTC, datetime
from functools import partial

import msgspec

from gateway.identity.principal import Principal, Scope
from gateway.orders import problems
from gateway.postgres.database import Connection, Database
from runtime.owners import OrdersOwner
from store.postgres import orders, products
from topics.records import OrderRecord, OrderStatus


class OrderPage(msgspec.Struct, frozen=True):
    """Orders, newest first, and the cursor of the next page; null on the last page."""

    orders: list[OrderRecord]
    next_cursor: str | None


class OrderService:
    """Reads and cancels orders. Each method raises Problem when Postgres does not answer."""

    def __init__(self, database: Database, owner: OrdersOwner) -> None:
        self._database = database
        self._owner = owner

    async def find(self, order_id: str, caller: Principal) -> OrderRecord:
        """The order. Raises Problem if there is none, and the same if it is not the caller's."""
        found = await self._database.transact(partial(orders.find, order_id=order_id))
        return _own(found, caller)

    async def of_cart(self, cart_id: str, before_seq: int | None, limit: int) -> OrderPage:
        """The cart's orders with numbers below `before_seq` (None: all)."""
        found = await self._database.transact(
            partial(orders.of_cart, cart_id=cart_id, before_seq=before_seq, limit=limit + 1)
        )
        page = found[:limit]
        return OrderPage(page, str(page[-1].seq) if len(found) > limit else None)

    async def cancel(self, order_id: str, caller: Principal) -> OrderRecord:
        """Cancel the order and put its quantities back into the stock, once; the cart stays as it is.

        Raises Problem.
        """
        if self._owner is OrdersOwner.EXTERNAL:
            raise problems.orders_elsewhere()
        return await self._database.transact(partial(_cancel, order_id=order_id, caller=caller))


def _own(order: OrderRecord | None, caller: Principal) -> OrderRecord:
    if order is None or not caller.may(order.cart_id, Scope.ORDERS):
        raise problems.order_not_found()
    return order


async def _cancel(connection: Connection, order_id: str, caller: Principal) -> OrderRecord:
    order = _own(await orders.lock(connection, order_id), caller)
    if order.status is OrderStatus.CANCELLED:
        return order
    reserved = await orders.reserved_quantities(connection, order_id)
    if reserved:
        await products.give_back(connection, reserved)
    cancelled = await orders.cancel(connection, order, datetime.now(UTC))
    await orders.publish(connection, cancelled)
    return cancelled
