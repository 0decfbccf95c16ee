"""What internal and external checkouts share: the snapshot to order from, the subtraction of the order."""

import secrets
import time
from functools import partial

import msgspec
import structlog

from carts.lifetime import GUEST_PREFIX
from carts.merging import knows_transfer
from carts.ordering import may_follow
from carts.state import State
from gateway.checkout import problems
from gateway.checkout.delivery import CartDelivery
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.postgres.database import Connection, Database
from gateway.resilience.deadline import Deadline
from store.postgres import merges, orders
from store.postgres.order_records import PlacedOrder
from store.redis import CartStore, Refused, StoreError

log = structlog.get_logger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """The folded cart to order from (None: there is no cart), and the number that its next order gets."""

    state: State | None
    order_number: int


class CheckoutCarts:
    """Carts as a checkout needs them.

    A killed process leaves nothing to undo. An order that is still in its cart is subtracted by the next
    checkout of the cart, or by the job `settlement`.
    """

    def __init__(
        self, store: CartStore, delivery: CartDelivery, database: Database, metrics: Metrics
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._database = database
        self._waiting = metrics.deferred_subtractions
        self._seconds = metrics.checkout_stage_seconds

    async def snapshot(self, cart_id: str, deadline: Deadline) -> Snapshot:
        """The delivered cart, without what was ordered before. Raises Problem, StoreError.

        A snapshot that does not know the cart's latest order would buy the same again. So that order is
        subtracted first, and the cart delivered again.
        """
        with self._seconds.labels("snapshot").time():
            return await self._snapshot(cart_id, deadline)

    async def _snapshot(self, cart_id: str, deadline: Deadline) -> Snapshot:
        while True:
            state = await self._delivery.deliver(cart_id, deadline)
            latest = await deadline.bound(self._database.transact(partial(orders.latest, cart_id=cart_id)))
            if latest is None:
                return Snapshot(state, 1)
            if state is None or state.expired or may_follow(state, latest.snapshot_version):
                return Snapshot(state, latest.record.seq + 1)
            refused = await deadline.bound(self._subtract(latest, state))
            if refused is not None:
                raise problems.not_delivered(f"its latest order is still in it ({refused.reason})")

    async def subtract(self, order: PlacedOrder, folded: State | None = None) -> None:
        """Take a placed order out of its cart; `folded` is the cart's row, None: read it.

        Raises nothing: the order stands, and the job `settlement` takes it out later if this fails.
        """
        try:
            if folded is None:
                folded = await self._delivery.row(order.record.cart_id)
            refused = await self._subtract(order, folded)
        except (StoreError, Problem) as error:
            self._waiting.inc()
            log.warning("checkout.subtraction_waits", order_id=order.record.order_id, error=repr(error))
            return
        if refused is not None:
            self._waiting.inc()
            log.info("checkout.subtraction_waits", order_id=order.record.order_id, reason=refused.reason)

    async def _subtract(self, order: PlacedOrder, folded: State | None) -> Refused | None:
        cart_id, order_id = order.record.cart_id, order.record.order_id
        with self._seconds.labels("subtract").time():
            answer = await self._store.subtract(cart_id, order_id, order.subtraction, folded)
        if isinstance(answer, Refused):
            return answer
        with self._seconds.labels("publish").time():
            await self._delivery.publish(answer)
        return None


class Overtaken(Exception):
    """A merge has carried quantities out of a guest's cart since the snapshot: take another one."""


async def check_not_overtaken(connection: Connection, cart_id: str, snapshot: State | None) -> None:
    """Raise Overtaken if a merge has taken anything out of the cart that the snapshot does not know.

    In the transaction of the order: no merge takes anything until it ends.
    """
    if not cart_id.startswith(GUEST_PREFIX):
        return
    await merges.lock(connection, cart_id)
    latest = await merges.latest_of_guest(connection, cart_id)
    if latest is not None and not knows_transfer(
        snapshot or State(), latest.transfer.number, latest.transfer.decided_version
    ):
        raise Overtaken


def new_order_id() -> str:
    """An id that sorts after earlier ones, so that an index grows at its end (as in UUIDv7, RFC 9562)."""
    return f"o_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
