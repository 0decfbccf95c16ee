"""Place orders where they are kept here: one transaction with the stock, then the cart is told."""

import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
import structlog
from psycopg.errors import UniqueViolation

from carts.ordering import lines_to_order, subtraction
from carts.products import facts_of
from carts.state import State
from carts.view import CartView, view
from gateway.checkout import problems as checkout_problems
from gateway.checkout.requests import PlaceOrder, fingerprint
from gateway.checkout.service import Basis, Steps
from gateway.http import problems
from gateway.http.problems import Problem
from gateway.postgres.database import Connection, Database
from gateway.pricing.pricing import Priced, Pricing
from gateway.resilience.deadline import Deadline
from gateway.settings import GatewaySettings
from store.postgres import orders
from store.postgres import products as owner
from store.postgres.order_records import NewOrder, PlacedOrder
from store.postgres.products import Reserved
from store.redis import CartStore, StoreError
from topics.records import OrderLine, OrderRecord, OrderStatus

log = structlog.get_logger(__name__)

_FENCE_MARGIN_S: Final = 10.0
"""What follows the deadline of a checkout, its subtraction above all, is over by then."""
_MAYBE_OURS: Final = {problems.CART_EMPTY, problems.CART_OUTDATED}


class Asked(msgspec.Struct, frozen=True):
    """A checkout as a client asked for it."""

    cart_id: str
    key: str
    body: PlaceOrder


class Placed(msgspec.Struct, frozen=True):
    """The order, and whether an earlier attempt with the same key has placed it."""

    record: OrderRecord
    replayed: bool


class OrderPlacer:
    """Turns carts into orders: at most one for each Idempotency-Key of a cart."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: CartStore,
        database: Database,
        pricing: Pricing,
        steps: Steps,
    ) -> None:
        self._settings = settings
        self._store = store
        self._database = database
        self._pricing = pricing
        self._steps = steps

    async def place(self, asked: Asked) -> Placed:
        """The order of this cart and key. Raises Problem when there is none, StoreError without Redis."""
        deadline = Deadline(self._settings.checkout_deadline_s)
        known = await self._known(asked)
        if known is not None:
            return await self._again(known)
        await self._fence(asked)
        try:
            await self._steps.between("fenced")
            return await self._place(asked, deadline)
        finally:
            await self._unfence(asked)

    async def _place(self, asked: Asked, deadline: Deadline) -> Placed:
        while True:
            try:
                basis = await deadline.bound(self._steps.basis(asked.cart_id, deadline))
                state = checkout_problems.check_may_order(basis.state)
                order = await deadline.bound(self._write(asked, state, basis))
            except (Problem, UniqueViolation) as error:
                if isinstance(error, Problem) and error.kind not in _MAYBE_OURS:
                    raise
                # The same key may have come twice: the other one has taken the number, or the last piece.
                known = await self._known(asked)
                if known is not None:
                    return await self._again(known)
                if isinstance(error, Problem):
                    raise
            else:
                await self._steps.between("placed")
                await self._steps.finish(order, state)
                return Placed(order.record, replayed=False)

    async def _known(self, asked: Asked) -> PlacedOrder | None:
        known = await self._database.transact(
            partial(orders.find_by_key, cart_id=asked.cart_id, key=asked.key)
        )
        if known is not None and known.fingerprint != fingerprint(asked.body):
            raise checkout_problems.key_reused()
        return known

    async def _again(self, known: PlacedOrder) -> Placed:
        if not known.settled:
            await self._steps.finish(known, None)
        return Placed(known.record, replayed=True)

    async def _fence(self, asked: Asked) -> None:
        ttl_ms = int((self._settings.checkout_deadline_s + _FENCE_MARGIN_S) * 1000)
        fence = await self._store.lock_checkout(asked.cart_id, asked.key, ttl_ms)
        if fence.token != asked.key:
            raise checkout_problems.in_progress(fence.ttl_ms)

    async def _unfence(self, asked: Asked) -> None:
        try:
            await self._store.unlock_checkout(asked.cart_id, asked.key)
        except StoreError as error:
            log.warning("checkout.fence_stays", error=repr(error))

    async def _write(self, asked: Asked, state: State, basis: Basis) -> PlacedOrder:
        """Reserve the stock and write the order, or neither."""
        cart = view(asked.cart_id, state)
        if not cart.lines:
            raise checkout_problems.cart_empty()
        # Before the transaction: nobody waits for the shop's own rules while products are locked.
        priced = await self._pricing.price(cart)
        await self._steps.between("priced")

        async def work(connection: Connection) -> PlacedOrder:
            reserved = await _reserve(connection, cart, priced)
            if asked.body.expected_total not in {None, priced.totals.total}:
                raise checkout_problems.cart_outdated([], priced.totals.total, cart.currency)
            await self._steps.between("reserved")
            record = _record(asked, cart, priced, reserved, basis.seq)
            order = NewOrder(
                record=record,
                key=asked.key,
                fingerprint=fingerprint(asked.body),
                subtraction=subtraction(record.order_id, lines_to_order(state), state),
                snapshot_version=state.version_number,
                reserved=reserved.counted,
            )
            await orders.insert(connection, order)
            await orders.publish(connection, record)
            await self._steps.between("written")
            return PlacedOrder(
                record=record,
                fingerprint=order.fingerprint,
                subtraction=order.subtraction,
                snapshot_version=order.snapshot_version,
            )

        return await self._database.transact(work)


def new_order_id() -> str:
    """An id of which later ones sort behind, so that an index grows at its end (as in UUIDv7, RFC 9562)."""
    return f"o_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


async def _reserve(connection: Connection, cart: CartView, priced: Priced) -> Reserved:
    """Take the cart's pieces out of the stocks. Raises the problem of a cart that has become another one."""
    wanted: dict[str, int] = {}
    for line in cart.lines:
        wanted[line.product_id] = wanted.get(line.product_id, 0) + line.quantity
    products = await owner.lock(connection, list(wanted))
    known = {name: facts_of(products[name]) if name in products else None for name in wanted}
    found = checkout_problems.differences(cart, known)
    reserved = [] if found else await owner.reserve(connection, wanted)
    if not isinstance(reserved, Reserved):
        raise checkout_problems.cart_outdated(found, priced.totals.total, cart.currency)
    return reserved


def _record(asked: Asked, cart: CartView, priced: Priced, reserved: Reserved, seq: int) -> OrderRecord:
    return OrderRecord(
        order_id=new_order_id(),
        cart_id=asked.cart_id,
        seq=seq,
        status=OrderStatus.PLACED,
        version=1,
        currency=cart.currency or "",
        lines=[
            OrderLine(
                line.line_id,
                line.product_id,
                line.quantity,
                line.unit_price,
                reserved.products[line.product_id].name,
                line.options,
                line.metadata,
            )
            for line in cart.lines
        ],
        totals=priced.totals,
        placed_at=datetime.now(UTC),
        adjustments=priced.adjustments,
        email=asked.body.email,
        metadata=asked.body.metadata,
    )
