"""Checkout: orders of a cart and the subtraction of what they bought, resumed by anyone."""

from collections.abc import Callable
from dataclasses import dataclass

from carts import ordering
from carts import state as states
from carts.operations import Delta, OrderedLine
from carts.state import State
from tests.model import redis_mirror
from tests.model.gateway import Gateway
from tests.model.redis_mirror import Applied, Request
from tests.model.world import CART, STALE, TIMING, World

MOST_CHECKOUTS = 3
_ROW = 1
"""The pick of the row in Postgres."""


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


@dataclass(frozen=True)
class Token:
    """A checkout of somebody who keeps the orders elsewhere: the lines that were handed out."""

    key: int
    lines: tuple[OrderedLine, ...]


@dataclass
class Attempt:
    """A checkout under way; with its snapshot once it has one, and its order once that is in the database.

    `token` is what a late complete orders.
    """

    key: int
    token: Token | None = None
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
        self.tokens: list[Token] = []
        self.keys = 0
        self.may_order: Callable[[State], bool] = lambda _state: True
        """Whether a record knows what merges have taken out of the cart."""

    def begin(self, _pick: int) -> None:
        """A client checks out."""
        if self.keys < MOST_CHECKOUTS:
            self.keys += 1
            self.attempts.append(Attempt(self.keys))

    def retry(self, pick: int) -> None:
        """A client checks out again, with a key that it has used."""
        if self.keys:
            key = 1 + pick % self.keys
            self.attempts.append(Attempt(key, next((t for t in self.tokens if t.key == key), None)))

    def open(self, pick: int) -> None:
        """The lines of a record are handed out with a token."""
        state = self.record(pick)
        if self.keys < MOST_CHECKOUTS and state is not None and not state.expired:
            self.keys += 1
            self.tokens.append(Token(self.keys, ordering.lines_to_order(state)))

    def complete(self, pick: int) -> None:
        """Whoever has a token completes its checkout, however late and however often."""
        if self.tokens:
            token = self.tokens[pick % len(self.tokens)]
            self.attempts.append(Attempt(token.key, token))

    def killed(self, pick: int) -> None:
        """A checkout dies between two steps."""
        if self.attempts:
            self.attempts.pop(pick % len(self.attempts))

    def step(self, pick: int) -> None:
        """The next step of a checkout."""
        if self.attempts:
            self.advance(self.attempts[pick % len(self.attempts)], pick // 4)

    def advance(self, attempt: Attempt, pick: int) -> None:
        """Deliver the outbox, take a snapshot, order, subtract: each step may be the last of its process."""
        attempt.order = attempt.order or next((o for o in self.orders if o.key == attempt.key), None)
        if attempt.order is not None:
            self.subtract(attempt.order, pick)
            self.attempts.remove(attempt)
        elif not attempt.delivered:
            attempt.delivered = self._deliver()
        elif attempt.snapshot is None:
            self._look(attempt, self.record(pick))
        else:
            self._order(attempt, attempt.snapshot, pick)

    def record(self, pick: int) -> State | None:
        """A record of the cart: the last in `carts`, the row in Postgres, or any that covers Redis's copy."""
        world = self.world
        window = world.redis.cart.window if world.redis.cart is not None else []
        earlier = [
            entry for entry in world.carts if isinstance(entry, State) and not states.uncovered(entry, window)
        ]
        match pick % 4:
            case 0:
                return world.last_state()
            case 3 if earlier:
                return earlier[pick // 4 % len(earlier)]
            case _:
                return world.hydration_row()

    def _deliver(self) -> bool:
        if not self.world.redis.ready:
            return False
        for entry in self.world.redis.outbox:
            self.gateway.deliver(entry)
        return True

    def _look(self, attempt: Attempt, state: State | None) -> None:
        copy = self.world.redis.cart
        if state is None or state.expired:
            self.attempts.remove(attempt)
        elif copy is not None and states.uncovered(state, copy.window):
            attempt.delivered = False
        elif self._lines(attempt, state):
            attempt.snapshot = state
        else:
            self.attempts.remove(attempt)

    def knows_latest(self, state: State) -> bool:
        """Whether a record knows the cart's latest order."""
        latest = self.orders[-1] if self.orders else None
        return latest is None or ordering.may_follow(state, latest.snapshot.version_number)

    def _lines(self, attempt: Attempt, state: State) -> tuple[OrderedLine, ...]:
        if attempt.token is not None:
            return ordering.rebase(attempt.token.lines, state)
        return ordering.lines_to_order(state)

    def _order(self, attempt: Attempt, state: State, pick: int) -> None:
        if not self.may_order(state):
            self.world.exercised["orders overtaken by a transfer"] += 1
            attempt.snapshot = None
            attempt.delivered = False
            return
        if not self.knows_latest(state):
            self.world.exercised["orders waiting for an earlier one"] += 1
            self.subtract(self.orders[-1], pick)
            attempt.snapshot = None
            attempt.delivered = False
            return
        order_id = f"s{len(self.orders)}"
        attempt.order = Order(order_id, attempt.key, self._lines(attempt, state), state)
        self.orders.append(attempt.order)
        self.world.exercised["orders"] += 1
        self.world.exercised["late completes"] += attempt.token is not None
        self.world.parts_were_ordered |= attempt.token is not None
        self.world.exercised["orders of a record behind"] += state != self.world.last_state()

    def subtract(self, order: Order, pick: int) -> None:
        """Subtract an order in Redis, unless the folded cart knows it."""
        world = self.world
        state = self.record(pick)
        if state is not None and ordering.knows_order(state, order.snapshot.version_number):
            return
        request = Request(order.order_id, order.delta, world.now, self.gateway.cold.bring_in())
        redis, reply = redis_mirror.subtract(
            world.redis, state, request, CART, world.redis_time, TIMING, STALE
        )
        if isinstance(reply, Applied):
            before = world.redis.cart
            world.commit(redis)
            self.gateway.check_subtraction(before)
            world.exercised["subtractions"] += 1
            world.exercised["subtractions from a record behind"] += state != world.last_state()
            world.exercised["subtractions renewed"] += reply.entry.change.delta != order.delta
        self.gateway.replied(reply, order.order_id)

    def recover(self, pick: int) -> None:
        """The recovery agent subtracts every order that the folded cart does not know."""
        self.resume(pick)

    def resume(self, pick: int) -> bool:
        """Subtract what has not been subtracted; whether there was anything."""
        state = self.record(pick)
        waiting = {entry.change.op_id for entry in self.world.redis.outbox}
        if state is None or state.expired:
            return False
        missing = [
            order
            for order in self.orders
            if order.order_id not in waiting
            and not ordering.knows_order(state, order.snapshot.version_number)
        ]
        for order in missing:
            self.subtract(order, pick)
        return bool(missing)

    def rest(self) -> bool:
        """Finish every checkout and subtraction; whether there was anything."""
        busy = bool(self.attempts)
        for attempt in list(self.attempts):
            for _ in range(4):
                if attempt in self.attempts:
                    self.advance(attempt, _ROW)
        return self.resume(_ROW) or busy
