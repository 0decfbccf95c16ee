"""The job that completes checkouts of killed gateways: it takes orders out of carts that still have them.

An order is settled once the folded cart has its subtraction, or will never need it. While its cart is expired
or has no row, an order waits: a late write may revive the cart, and only its deletion ends the wait.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Final

import psycopg
import structlog

from carts.lifetime import Lifetime
from carts.ordering import knows_order
from carts.protocol import CartRow, too_stale
from jobs import metrics
from jobs.settings import JobsSettings
from jobs.unreadable_rows import UnreadableRows
from runtime.clock import clock_us
from store.postgres import carts, orders
from store.postgres.order_records import Position, UnsettledOrder
from store.redis import CartStore, Layout, PipelinedClient, Refused, StoreError

log = structlog.get_logger(__name__)

PAGE: Final = 100


class Rows:
    """The rows of carts that Redis lacks (store.redis.RowLookup)."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], layout: Layout) -> None:
        self._connection = connection
        self._layout = layout

    async def look_up(self, cart_id: str) -> CartRow:
        """The row as it is. Raises psycopg.Error."""
        return (await carts.look_up(self._connection, {cart_id: self._layout.partition(cart_id)}))[cart_id]


class Standing(Enum):
    """Whether an order has left its cart, waits for it, or must be subtracted from it now."""

    SETTLED = auto()
    WAITS = auto()
    DUE = auto()


def standing(order: UnsettledOrder, now_us: int, lifetime: Lifetime) -> Standing:
    """How the order stands at `now_us` (microseconds)."""
    if order.unreadable is not None:
        return Standing.WAITS  # it must not stop the orders of other carts
    if order.state is None:
        # There was a row when the order was placed. A cart is deleted when it was expired for the retention.
        is_deleted = bool(lifetime.retention_s) and too_stale(
            order.snapshot_version, now_us, lifetime.retention_s * 1_000_000
        )
        return Standing.SETTLED if is_deleted else Standing.WAITS
    if knows_order(order.state, order.snapshot_version):
        return Standing.SETTLED
    return Standing.WAITS if order.state.expired else Standing.DUE


class Settlement:
    """Goes through the unsettled orders again and again; normally only the newest ones are unsettled."""

    name = "settlement"

    def __init__(self, settings: JobsSettings, clock: Callable[[], int] = clock_us) -> None:
        self._settings = settings
        self._clock = clock
        self._unreadable = UnreadableRows(self.name, "settlement.row_unreadable")

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Settle until cancelled. Raises psycopg.Error, StoreError."""
        settings = self._settings
        async with PipelinedClient(settings, name="cartstream-settlement") as client:
            layout = Layout(settings.partitions)
            store = CartStore(
                client,
                layout,
                lifetime=settings.lifetime,
                outbox_max_bytes=settings.outbox_max_bytes,
                rows=Rows(connection, layout),
            )
            while True:
                await self.round(connection, store)
                metrics.succeeded(self.name)
                await asyncio.sleep(settings.settlement_pause_s)

    async def round(self, connection: psycopg.AsyncConnection[Any], store: CartStore) -> Counter[Standing]:
        """Look at every unsettled order once; how many stood how. Raises psycopg.Error, StoreError."""
        after, found = Position(), Counter[Standing]()
        grace = timedelta(seconds=self._settings.settlement_grace_s)
        while page := await orders.unsettled(connection, after, grace, PAGE):
            after = page[-1].position
            by_standing: dict[Standing, list[UnsettledOrder]] = {each: [] for each in Standing}
            for order in page:
                if order.unreadable is not None:
                    self._unreadable.met(
                        order.order_id, order.unreadable, order_id=order.order_id, cart_id=order.cart_id
                    )
                by_standing[standing(order, self._clock(), self._settings.lifetime)].append(order)
            for order in by_standing[Standing.DUE]:
                await _subtract(store, order)
            if settled := by_standing[Standing.SETTLED]:
                await orders.settle(connection, [order.order_id for order in settled])
                metrics.ORDERS_SETTLED.inc(len(settled))
            found.update({each: len(some) for each, some in by_standing.items()})
        for each in (Standing.WAITS, Standing.DUE):
            metrics.ORDERS_UNSETTLED.labels(each.name.lower()).set(found[each])
        self._unreadable.end_round()
        return found


async def _subtract(store: CartStore, order: UnsettledOrder) -> None:
    """Take the order out of Redis's copy; the gateways publish the outbox entry. Raises StoreError."""
    try:
        answer = await store.subtract(order.cart_id, order.order_id, order.subtraction, order.state)
    except StoreError as error:
        if error.retriable:
            raise
        # A broken copy of one cart must not stop the orders of the others.
        log.error("settlement.store_failed", order_id=order.order_id, error=repr(error))  # noqa: TRY400
        return
    if isinstance(answer, Refused):
        log.info("settlement.refused", order_id=order.order_id, reason=answer.reason)
        return
    metrics.SUBTRACTIONS.inc()
    log.info("settlement.subtracted", order_id=order.order_id, v=answer.operation_version)
