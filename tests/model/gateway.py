"""The gateway: requests and their retries, publishing, acknowledgements; and the sweeper of the outbox."""

from dataclasses import dataclass

import msgspec

from carts import protocol
from carts.operations import Add, Clear, Delta, Item, Remove, Set, SetDetails
from carts.protocol import Durability
from tests.model import redis_mirror
from tests.model.cold_carts import ColdCarts, LookUp
from tests.model.redis_mirror import Applied, OutboxEntry, Refused, Replayed, Reply, Request, StoredCart
from tests.model.world import CART, STALE, TIMING, Asked, World, contains, quantities

MOST_OPERATIONS = 12
"""More would not fit a double when each adds another power of four."""
_ITEM = Item("x")


def add(line_id: str, quantity: int) -> Delta:
    """A change that adds pieces."""
    return (Add(line_id, quantity, 1, "EUR", _ITEM),)


def any_change(pick: int, quantity: int) -> Delta:
    """A change of any kind on one of two lines."""
    line_id = "xy"[pick % 2]
    match pick // 2 % 4:
        case 0:
            return add(line_id, quantity)
        case 1:
            return (Set(line_id, quantity, 1, "EUR", _ITEM),)
        case 2:
            return (Remove(line_id),)
        case _ if pick // 8 % 4:
            return (Clear(),)
        case _:
            return (SetDetails(email=None if quantity % 2 else line_id, codes=("CODE",)),)


@dataclass
class Flight:
    """A change between its script and the reply to the client."""

    entry: OutboxEntry
    since: int
    backlog: int
    wants_row: bool
    published: bool = False

    @property
    def op_id(self) -> str:
        """The operation of the change."""
        return self.entry.change.op_id


class Gateway:
    """All gateways together: any of them may do any step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.flights: list[Flight] = []
        self.lookups: list[LookUp] = []
        self.cold = ColdCarts(world)
        self.removals: list[tuple[int, str]] = []
        self.sweeps: list[tuple[int, list[OutboxEntry]]] = []
        self.wanting_rows: set[str] = set()

    # Clients

    def write(self, _pick: int) -> None:
        """A client adds to the cart: operation i adds 4^i, so that the sum tells how often each is in it."""
        self._ask(add("x", self.world.unit * 4 ** len(self.world.asked)))

    def write_any(self, pick: int) -> None:
        """A client adds, sets, removes or clears."""
        self._ask(any_change(pick, self.world.unit * 4 ** len(self.world.asked)))

    def write_for_postgres(self, pick: int) -> None:
        """A client adds and waits until the row in Postgres has it."""
        self.wanting_rows.add(f"o{len(self.world.asked)}")
        self.write(pick)

    def retry(self, pick: int) -> None:
        """A client without a reply tries again, within the retry horizon."""
        waiting = [op_id for op_id in self.world.asked if self.may_retry(op_id)]
        if waiting:
            self.request(self._request(waiting[pick % len(waiting)]))

    def may_retry(self, op_id: str) -> bool:
        """Whether a client still would."""
        within = self.world.now - self.world.asked[op_id].at <= TIMING.retry_horizon_us
        return op_id not in self.world.acknowledged and within

    def _ask(self, delta: Delta) -> None:
        op_id = f"o{len(self.world.asked)}"
        self.world.asked[op_id] = Asked(delta, self.world.now)
        self.request(self._request(op_id))

    def _request(self, op_id: str) -> Request:
        asked = self.world.asked[op_id]
        return Request(op_id, asked.delta, asked.at)

    # Requests

    def look_up(self, pick: int) -> None:
        """A request that met an unknown cart comes back with what Postgres had."""
        if not self.lookups:
            return
        looked = self.lookups.pop(pick % len(self.lookups))
        if looked.request is None:
            self.cold.viewed(looked)
            return
        self.cold.hydrate(looked.found)
        self.request(msgspec.structs.replace(looked.request, found=looked.found))

    def read_row(self, pick: int) -> None:
        """The row of a miss is read only now."""
        if self.lookups:
            self.cold.read_row(self.lookups[pick % len(self.lookups)])

    def request(self, request: Request) -> None:
        """Run the write script."""
        world = self.world
        redis, reply = redis_mirror.change(world.redis, request, CART, world.redis_time, TIMING, STALE)
        if reply == Refused("unknown_cart"):
            self.lookups.append(self.cold.missed(request))
        if isinstance(reply, Applied):
            world.commit(redis)
            self.check_copy()
            self.cold.shown_now()
        self.replied(reply, request.op_id)

    def view(self, _pick: int) -> None:
        """A reader asks for the cart."""
        looked = self.cold.view()
        if looked is not None:
            self.lookups.append(looked)

    def replied(self, reply: Reply, op_id: str) -> None:
        """Go on after a script: publish what stands in the outbox, or answer at once."""
        world = self.world
        match reply:
            case Applied(entry, backlog):
                world.applied.add(op_id)
                self.flights.append(Flight(entry, world.now, backlog, op_id in self.wanting_rows))
            case Replayed(entry, backlog):
                world.exercised["replays"] += 1
                if protocol.durability_at_once(in_outbox=entry is not None) is Durability.KAFKA:
                    world.acknowledge(op_id, None)
                elif entry is not None:
                    self.flights.append(Flight(entry, world.now, backlog, op_id in self.wanting_rows))
            case Refused(reason):
                world.exercised[f"refused: {reason}"] += 1

    def check_copy(self) -> None:
        """What a reader would see now in Redis."""
        world = self.world
        copy = world.redis.cart
        assert copy is not None
        lines = quantities(copy.content)
        world.names(copy.version, lines)
        if any(quantity < 0 for _, quantity in lines):
            world.problem(f"Redis has a negative line: {lines}")
        only_adds = not world.parts_were_ordered and all(
            isinstance(step, Add) for asked in world.asked.values() for step in asked.delta
        )
        quantity = dict(lines).get("x", 0)
        if only_adds and quantity > 0 and any(quantity // 4**i % 4 > 1 for i in range(len(world.asked))):
            world.problem(f"Redis shows an operation twice: {quantity}")

    def check_subtraction(self, before: StoredCart | None) -> None:
        """What a subtraction has made of Redis's copy: it has one operation more, and hides none."""
        world, after = self.world, self.world.redis.cart
        assert after is not None
        had = before.version.operation_count if before is not None else 0
        if not world.redis_fell_back and after.version.operation_count <= had:
            world.problem(f"a subtraction hides what Redis had: {had}, {after.version.operation_count}")
        self.check_copy()

    # Publishing

    def publish(self, pick: int) -> None:
        """A gateway hands a change to the producer; a high pick has the producer send it twice."""
        waiting = [flight for flight in self.flights if not flight.published]
        if not waiting:
            return
        flight = waiting[pick % len(waiting)]
        if not self.publishable(flight):
            self.flights.remove(flight)
            self.world.exercised["left to the sweeper"] += 1
            return
        flight.published = True
        for _ in range(2 if pick >= 56 else 1):
            self.world.publish(flight.entry.change)

    def publishable(self, flight: Flight) -> bool:
        """Whether the gateway may publish this itself."""
        return protocol.publish_allowed(flight.backlog, TIMING) and protocol.publish_in_time(
            self.world.now, flight.since, TIMING
        )

    def acknowledge(self, pick: int) -> None:
        """The broker acknowledges; the client gets its reply, the outbox entry may go."""
        published = [flight for flight in self.flights if flight.published]
        if published:
            flight = published[pick % len(published)]
            self.finish(flight)

    def finish(self, flight: Flight) -> None:
        """Reply `kafka` and let the outbox entry go."""
        self.flights.remove(flight)
        self.world.acknowledge(flight.op_id, flight.entry.change.version)
        self.removals.append((flight.entry.entry_id, flight.op_id))

    def row_seen(self, pick: int) -> None:
        """A client that waits for Postgres gets its reply once the row has its operation."""
        published = [flight for flight in self.flights if flight.published and flight.wants_row]
        if published:
            flight = published[pick % len(published)]
            row, version = self.world.row, flight.entry.change.version
            if protocol.reached_postgres(row, flight.op_id, version):
                self.world.exercised["replied postgres"] += 1
                if row is None or not contains(row, version, flight.op_id):
                    self.world.problem(f"reply says postgres for {flight.op_id} which the row lacks")
                self.flights.remove(flight)
                self.world.acknowledge(flight.op_id, None)

    def remove(self, pick: int) -> None:
        """An acknowledged entry leaves the outbox, some time later."""
        if self.removals:
            entry_id, op_id = self.removals.pop(pick % len(self.removals))
            redis = redis_mirror.outbox_remove(self.world.redis, entry_id, op_id)
            if redis != self.world.redis:
                self.world.commit(redis)

    def killed(self, pick: int) -> None:
        """A gateway dies with a request in its hands."""
        if self.flights:
            self.flights.pop(pick % len(self.flights))

    # Sweeper

    def sweep_read(self, _pick: int) -> None:
        """A sweeper reads the outbox; two of them may be at it, one of them frozen."""
        if len(self.sweeps) < 2 and self.world.redis.outbox:
            self.sweeps.append((self.world.now, list(self.world.redis.outbox)))

    def sweep_publish(self, pick: int) -> None:
        """A sweeper publishes the next entry that it has read."""
        if not self.sweeps:
            return
        sweep = self.sweeps[pick % len(self.sweeps)]
        if self.sweepable(sweep[0]):
            self.deliver(sweep[1].pop(0))
        else:
            self.world.exercised["sweeps read again"] += 1
            sweep[1].clear()
        if not sweep[1]:
            self.sweeps.remove(sweep)

    def sweepable(self, read: int) -> bool:
        """Whether a sweeper may publish what it read then."""
        return protocol.publish_in_time(self.world.now, read, TIMING)

    def deliver(self, entry: OutboxEntry) -> None:
        """Publish an entry and, once acknowledged, let it go."""
        self.world.exercised["swept"] += 1
        self.world.publish(entry.change)
        self.removals.append((entry.entry_id, entry.change.op_id))

    def sweeper_killed(self, pick: int) -> None:
        """A sweeper dies."""
        if self.sweeps:
            self.sweeps.pop(pick % len(self.sweeps))

    # Coming to rest

    def rest(self, retrying: set[str]) -> bool:
        """Finish what is under way; whether anything was. `retrying` clients insist."""
        busy = bool(self.lookups or self.sweeps or self.removals or self.world.redis.outbox)
        for _ in range(len(self.lookups)):
            self.look_up(0)
        flying = {flight.op_id for flight in self.flights}
        for op_id in sorted(filter(self.may_retry, retrying - flying)):
            self.request(self._request(op_id))
            busy = True
        for flight in list(self.flights):
            if flight.published or self.publishable(flight):
                if not flight.published:
                    self.world.publish(flight.entry.change)
                self.finish(flight)
                busy = True
        self.flights.clear()
        for read, entries in self.sweeps:
            if self.sweepable(read):
                for entry in entries:
                    self.deliver(entry)
        self.sweeps.clear()
        self.drop_removals()
        for entry in self.world.redis.outbox:
            self.deliver(entry)
        self.drop_removals()
        return busy

    def drop_removals(self) -> None:
        """All acknowledged entries leave the outbox."""
        while self.removals:
            self.remove(0)
