"""What every checkout is made of, in steps of which each may be the last of its process."""

from functools import partial

import msgspec
import structlog

from carts.ordering import may_follow
from carts.state import State
from gateway.checkout.delivery import Snapshots, not_delivered
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.postgres.database import Database
from gateway.resilience.deadline import Deadline
from store.postgres import orders
from store.postgres.order_records import PlacedOrder
from store.redis import CartStore, Refused, StoreError

log = structlog.get_logger(__name__)


class Basis(msgspec.Struct, frozen=True):
    """The folded cart to order from, and the number that the order gets; none: there is no cart."""

    state: State | None
    seq: int


class Steps:
    """The steps that placing an order here and completing one elsewhere have in common.

    Nothing has to be undone when a process dies between two of them: without an order nothing has happened,
    and an order that its cart does not know is found by whoever orders next, and by the job `settlement`.
    """

    def __init__(self, store: CartStore, snapshots: Snapshots, database: Database, metrics: Metrics) -> None:
        self.store = store
        self.snapshots = snapshots
        self.database = database
        self._waiting = metrics.subtractions_waiting

    async def between(self, step: str) -> None:
        """Called after each step, for whoever wants to see a process die there."""

    async def basis(self, cart_id: str, deadline: Deadline) -> Basis:
        """A snapshot that knows the cart's latest order: another one would buy the same again.

        An order that it does not know is subtracted first. Raises Problem, StoreError.
        """
        while True:
            state = await self.snapshots.take(cart_id, deadline)
            await self.between("delivered")
            latest = await self.database.transact(partial(orders.latest, cart_id=cart_id))
            if latest is None:
                return Basis(state, 1)
            following = latest.record.seq + 1
            if state is None or state.expired:
                return Basis(state, following)
            if may_follow(state, latest.record.order_id, latest.snapshot_version):
                return Basis(state, following)
            await self._catch_up(latest, state)
            await self.between("caught up")

    async def finish(self, order: PlacedOrder, folded: State | None) -> None:
        """Take a placed order out of its cart. What prevents it now is not the buyer's concern."""
        try:
            if folded is None:
                folded = await self.snapshots.row(order.record.cart_id)
            refused = await self._subtract(order, folded)
        except (StoreError, Problem) as error:
            self._waiting.inc()
            log.warning("checkout.subtraction_waits", order_id=order.record.order_id, error=repr(error))
            return
        if refused is not None:
            self._waiting.inc()
            log.info("checkout.subtraction_waits", order_id=order.record.order_id, reason=refused.reason)

    async def _catch_up(self, latest: PlacedOrder, state: State) -> None:
        refused = await self._subtract(latest, state)
        if refused is not None:
            raise not_delivered(f"its last order still has to leave it ({refused.reason})")

    async def _subtract(self, order: PlacedOrder, folded: State | None) -> Refused | None:
        cart_id, order_id = order.record.cart_id, order.record.order_id
        answer = await self.store.subtract(cart_id, order_id, order.subtraction, folded)
        if isinstance(answer, Refused):
            return answer
        await self.between("subtracted")
        await self.snapshots.publish(answer)
        await self.between("published")
        return None
