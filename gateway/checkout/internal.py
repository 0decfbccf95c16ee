"""Place an order where this system keeps the orders: `InternalCheckouts.place` is the whole flow.

1. Replay: an order that this Idempotency-Key has placed before is the reply.
2. Lock: one checkout at a time for each cart. A courtesy to a second device; no guarantee rests on it.
3. Snapshot: the cart's row in Postgres, once it has every change that Redis has.
4. Price: the pricing hook's adjustments, and the totals. Without its answer nothing is ordered.
5. Order transaction: the stock, the order and its record for Kafka, all or nothing.
6. Subtract: the ordered quantities leave the cart.
7. Reply.

The gateway may be killed after any step. Before step 5 commits, nothing has happened and the lock expires.
After it, step 6 is done by a retry, by the cart's next checkout, or by the job `settlement`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
from psycopg.errors import UniqueViolation

from carts.ordering import lines_to_order, subtraction
from carts.products import facts_of
from carts.view import CartView
from gateway.checkout import problems
from gateway.checkout.decisions import (
    cart_to_order,
    check_may_order,
    check_priced,
    check_total,
    check_version,
    differences,
    order_lines,
    quantities_by_product,
)
from gateway.checkout.requests import PlaceOrder, fingerprint
from gateway.checkout.service import CheckoutCarts, Overtaken, check_not_overtaken, new_order_id
from gateway.http.conditions import NO_PRECONDITIONS, Preconditions
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.postgres.database import Connection, Database
from gateway.pricing.service import Priced, Pricing
from gateway.resilience.deadline import Deadline
from gateway.settings import GatewaySettings
from store.postgres import orders, products
from store.postgres.order_records import PlacedOrder
from store.postgres.products import Reserved
from store.redis import CartStore, StoreError
from topics.records import OrderRecord, OrderStatus

log = structlog.get_logger(__name__)

_LOCK_MARGIN_S: Final = 10.0
"""How long the lock outlives the deadline: the subtraction that follows is over by then."""


class InternalCheckouts:
    """Turns carts into orders: at most one order for each Idempotency-Key of a cart."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        database: Database,
        pricing: Pricing,
        carts: CheckoutCarts,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._seconds = metrics.checkout_stage_seconds
        self._store = store
        self._database = database
        self._pricing = pricing
        self._carts = carts

    async def place(
        self, cart_id: str, key: str, body: PlaceOrder, preconditions: Preconditions = NO_PRECONDITIONS
    ) -> tuple[OrderRecord, bool]:
        """The order of this cart and key, and whether it is new.

        Raises Problem when there is no order, StoreError when Redis fails.
        """
        deadline = Deadline(self._settings.checkout_deadline_s)
        # 1. Replay.
        replayed = await self._replay(cart_id, key, body)
        if replayed is not None:
            return replayed, False
        # 2. Lock.
        async with self._checkout_lock(cart_id, key):
            while True:
                refusal: Problem | None = None
                try:
                    return await self._place(cart_id, key, body, preconditions, deadline), True
                except (UniqueViolation, Overtaken):
                    # Another checkout has taken the order number, or this key; or a merge the lines.
                    pass
                except Problem as problem:
                    if problem.kind not in problems.POSSIBLE_RACE:
                        raise
                    refusal = problem
                # A concurrent request with the same key may have won: then its order is the reply.
                replayed = await self._replay(cart_id, key, body)
                if replayed is not None:
                    return replayed, False
                if refusal is not None:
                    raise refusal

    async def _place(
        self, cart_id: str, key: str, body: PlaceOrder, preconditions: Preconditions, deadline: Deadline
    ) -> OrderRecord:
        # 3. Snapshot.
        snapshot = await self._carts.snapshot(cart_id, deadline)
        state = check_may_order(snapshot.state)
        cart = cart_to_order(cart_id, state)
        check_version(preconditions, cart.version)
        # 4. Price. Before the transaction: no product is locked while the pricing hook answers.
        with self._seconds.labels("price").time():
            priced = await deadline.bound(self._pricing.price(cart))
        check_priced(priced, body.expected_total)

        # 5. Order transaction.
        async def transaction(connection: Connection) -> PlacedOrder:
            await check_not_overtaken(connection, cart_id, state)
            with self._seconds.labels("stock").time():
                reserved = await _reserve(connection, cart, priced)
            check_total(body.expected_total, priced.totals.total, cart.currency)
            record = _record(snapshot.order_number, cart, priced, reserved, body)
            order = PlacedOrder(
                record=record,
                fingerprint=fingerprint(body),
                subtraction=subtraction(record.order_id, lines_to_order(state), state),
                snapshot_version=state.version_number,
            )
            await orders.insert(connection, order, key=key, reserved=reserved.counted)
            await orders.publish(connection, record)
            return order

        with self._seconds.labels("order").time():
            order = await deadline.bound(self._database.transact(transaction))
        # 6. Subtract.
        await self._carts.subtract(order, state)
        # 7. Reply.
        return order.record

    async def _replay(self, cart_id: str, key: str, body: PlaceOrder) -> OrderRecord | None:
        """The order that this key has placed, if any; it leaves its cart if it has not yet."""
        with self._seconds.labels("replay").time():
            order = await self._database.transact(partial(orders.find_by_key, cart_id=cart_id, key=key))
        if order is None:
            return None
        if order.fingerprint != fingerprint(body):
            raise problems.key_reused()
        if not order.settled:
            await self._carts.subtract(order)
        return order.record

    @asynccontextmanager
    async def _checkout_lock(self, cart_id: str, key: str) -> AsyncIterator[None]:
        """Holds the cart's checkout lock. Raises Problem while another key holds it."""
        ttl_ms = int((self._settings.checkout_deadline_s + _LOCK_MARGIN_S) * 1000)
        with self._seconds.labels("lock").time():
            lock = await self._store.lock_checkout(cart_id, key, ttl_ms)
        if lock.token != key:
            raise problems.in_progress(lock.ttl_ms)
        try:
            yield
        finally:
            try:
                await self._store.unlock_checkout(cart_id, key)
            except StoreError as error:
                log.warning("checkout.lock_not_released", error=repr(error))


async def _reserve(connection: Connection, cart: CartView, priced: Priced) -> Reserved:
    """Take the cart's quantities out of the stock. Raises Problem when price or stock has changed."""
    quantities = quantities_by_product(cart)
    locked = await products.lock(connection, list(quantities))
    known = {name: facts_of(locked[name]) if name in locked else None for name in quantities}
    found = differences(cart, known)
    reserved = [] if found else await products.reserve(connection, quantities)
    if not isinstance(reserved, Reserved):
        raise problems.cart_outdated(found, priced.totals.total, cart.currency)
    return reserved


def _record(
    order_number: int, cart: CartView, priced: Priced, reserved: Reserved, body: PlaceOrder
) -> OrderRecord:
    return OrderRecord(
        order_id=new_order_id(),
        cart_id=cart.cart_id,
        seq=order_number,
        status=OrderStatus.PLACED,
        version=1,
        currency=cart.currency or "",
        lines=order_lines(cart, {name: product.name for name, product in reserved.products.items()}),
        totals=priced.totals,
        placed_at=datetime.now(UTC),
        adjustments=priced.adjustments,
        email=body.email or cart.details.email,
        metadata=body.metadata,
        details=cart.details,
    )
