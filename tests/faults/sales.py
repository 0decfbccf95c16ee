"""What orders, catalogue and mailbox contain after a run, as values that checks can compare."""

from collections.abc import Mapping, Sequence

import msgspec

from carts.products import Product
from topics.records import OrderRecord


class Kept(msgspec.Struct, frozen=True):
    """An order as Postgres keeps it; `key` is the Idempotency-Key that placed it."""

    record: OrderRecord
    key: str | None
    settled: bool

    @property
    def order_id(self) -> str:
        """Its name, and that of its subtraction."""
        return self.record.order_id

    @property
    def cart_id(self) -> str:
        """The cart that was ordered."""
        return self.record.cart_id

    def lines(self) -> dict[str, int]:
        """Pieces by line."""
        return {line.line_id: line.quantity for line in self.record.lines}


class Sales(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of the run's carts, and all that belongs to the catalogue.

    `told` are the records of `orders` by order, in offset order; `table` and `cache` the products by id;
    `waiting` counts the rows of the Postgres outbox; `confirmations` and `cancellations` are mails by order.
    """

    orders: Sequence[Kept] = ()
    told: Mapping[str, Sequence[OrderRecord]] = {}
    table: Mapping[str, Product] = {}
    cache: Mapping[str, Product | None] = {}
    waiting: int = 0
    confirmations: Mapping[str, int] = {}
    cancellations: Mapping[str, int] = {}

    def of_cart(self, cart_id: str) -> list[Kept]:
        """The cart's orders by their number."""
        found = (order for order in self.orders if order.cart_id == cart_id)
        return sorted(found, key=lambda order: order.record.seq)
