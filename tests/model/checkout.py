"""Checkout: orders of a cart and the subtraction of what they bought, resumed by anyone."""

from dataclasses import dataclass

from carts import ordering
from carts import state as states
from carts.operations import Delta, OrderedLine, Subtract
from carts.state import State
from tests.model import redis_mirror
from tests.model.gateway import Gateway
from tests.model.redis_mirror import Applied, Request
from tests.model.world import CART, STALE, TIMING, World

MOST_CHECKOUTS = 3


@dataclass(frozen=True)
class Order:
    """An order: its key is the client's, `lines` what it bought, `snapshot` the state it bought them from."""

    order_id: str
    key: int
    lines: tuple[OrderedLine, ...]
    snapshot: State

    @property
    def delta(self) -> Delta:
        """The change that takes the order's lines out of the cart."""
        return ordering.subtraction(self.order_id, self.lines, self.snapshot)


@dataclass
class Attempt:
    """A checkout under way; with its snapshot once it has one, and its order once that is in the database."""

    key: int
    delivered: bool = False
    snapshot: State | None = None
    order: Order | None = None


class Checkout:
    """Checkouts, their retries, and the agent that subtracts every order that has not been subtracted."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self.world = world
        self.gateway = gateway
        self.attempts: list[Attempt] = []
        self.orders: list[Order] = []
        self.keys = 0

    def begin(self, _pick: int) -> None:
        """A client checks out."""
        if self.keys < MOST_CHECKOUTS:
            self.keys += 1
            self.attempts.append(Attempt(self.keys))

    def retry(self, pick: int) -> None:
        """A client checks out again, with a key that it has used."""
        if self.keys:
            self.attempts.append(Attempt(1 + pick % self.keys))

    def killed(self, pick: int) -> None:
        """A checkout dies between two steps."""
        if self.attempts:
            self.attempts.pop(pick % len(self.attempts))

    def step(self, pick: int) -> None:
        """The next step of a checkout."""
        if self.attempts:
            self.advance(self.attempts[pick % len(self.attempts)])

    def advance(self, attempt: Attempt) -> None:
        """Deliver the outbox, take a snapshot, order, subtract: each step may be the last of its process."""
        attempt.order = attempt.order or next((o for o in self.orders if o.key == attempt.key), None)
        if attempt.order is not None:
            self.subtract(attempt.order)
            self.attempts.remove(attempt)
        elif not attempt.delivered:
            attempt.delivered = self._deliver()
        elif attempt.snapshot is None:
            self._look(attempt)
        else:
            self._order(attempt, attempt.snapshot)

    def _deliver(self) -> bool:
        if not self.world.redis.ready:
            return False
        for entry in self.world.redis.outbox:
            self.gateway.deliver(entry)
        return True

    def _look(self, attempt: Attempt) -> None:
        state, copy = snapshot(self.world), self.world.redis.cart
        if state is None or state.expired:
            self.attempts.remove(attempt)
        elif copy is not None and states.uncovered(state, copy.window):
            attempt.delivered = False
        elif ordering.lines_to_order(state):
            attempt.snapshot = state
        else:
            self.attempts.remove(attempt)

    def _order(self, attempt: Attempt, state: State) -> None:
        latest = self.orders[-1] if self.orders else None
        if latest is not None and not ordering.may_follow(state, latest.order_id, latest.snapshot.v):
            self.world.exercised["orders waiting for an earlier one"] += 1
            self.subtract(latest)
            attempt.snapshot = None
            attempt.delivered = False
            return
        order_id = f"s{len(self.orders)}"
        attempt.order = Order(order_id, attempt.key, ordering.lines_to_order(state), state)
        self.orders.append(attempt.order)
        self.world.exercised["orders"] += 1

    def subtract(self, order: Order) -> None:
        """Subtract an order in Redis, unless the folded cart knows it."""
        world = self.world
        state = world.last_state()
        if state is not None and ordering.knows_order(state, order.order_id, order.snapshot.v):
            return
        request = Request(order.order_id, order.delta, world.now)
        redis, reply = redis_mirror.subtract(
            world.redis, state, request, CART, world.redis_time, TIMING, STALE
        )
        if isinstance(reply, Applied):
            world.commit(redis)
            self.gateway.check_copy()
            world.exercised["subtractions"] += 1
        self.gateway.replied(reply, order.order_id)

    def recover(self, _pick: int) -> None:
        """The recovery agent subtracts every order that the folded cart does not know."""
        self.resume()

    def resume(self) -> bool:
        """Subtract what has not been subtracted; whether there was anything."""
        state = self.world.last_state()
        waiting = {entry.change.op_id for entry in self.world.redis.outbox}
        if state is None or state.expired:
            return False
        missing = [
            order
            for order in self.orders
            if order.order_id not in waiting
            and not ordering.knows_order(state, order.order_id, order.snapshot.v)
        ]
        for order in missing:
            self.subtract(order)
        return bool(missing)

    def beyond_the_window(self) -> bool:
        """Whether an order was subtracted when a birth that it names may have left the window.

        A known limit: if such an operation was born again, its first birth has left for nothing (the second
        counted), and the order makes a duplicate of the second. Orders must be subtracted well within W.
        """
        log = self.world.log
        late = {
            (birth.op_id, birth.v)
            for change in log
            for step in change.delta
            if isinstance(step, Subtract)
            for birth in step.births
            if max(other.v for other in log) - birth.v > 2 * TIMING.window_us
        }
        return any(change.op_id == op_id and change.v > v for change in log for op_id, v in late)

    def rest(self) -> bool:
        """Finish every checkout and subtraction; whether there was anything."""
        busy = bool(self.attempts)
        for attempt in list(self.attempts):
            for _ in range(4):
                if attempt in self.attempts:
                    self.advance(attempt)
        return self.resume() or busy


def snapshot(world: World) -> State | None:
    """What a checkout orders from: the last record in `carts`, never Redis."""
    return world.last_state()
