"""The sinks: Postgres, and what keeps Redis equal to `carts`: restore, follow, anti-entropy."""

from carts import fold as folding
from carts import protocol
from carts import state as states
from carts.operations import Change
from carts.protocol import Deleted, PutOutcome
from carts.state import State
from tests.model import redis_mirror, tail
from tests.model.redis_mirror import Redis, StoredCart
from tests.model.world import CART, RETENTION, STALE, TIMING, World, contains, quantities


class PostgresSink:
    """Copies `carts` into the row, guarded by version; its position stands beside the rows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.position = 0
        self.frozen: int | None = None
        """The position of a sink that was taken its partition."""

    def step(self, _pick: int) -> None:
        """Take one record."""
        self.take()

    def take(self) -> bool:
        """Take one record, or go to the position of the rows; whether there was anything to do."""
        world = self.world
        if not tail.rows_continue(self.position, world.rows_position):
            self.position = world.rows_position
            return True
        if self.position >= len(world.carts):
            return False
        self.position = self._write(self.position)
        return True

    def killed(self, _pick: int) -> None:
        """The sink dies; the next one begins where the rows are."""
        self.position = self.world.rows_position

    def moved(self, _pick: int) -> None:
        """The sink freezes and another takes over."""
        self.frozen, self.position = self.position, self.world.rows_position

    def frozen_writes(self, _pick: int) -> None:
        """The one before writes a record, if the rows are where it thinks."""
        world = self.world
        if self.frozen is None or self.frozen >= len(world.carts):
            return
        if tail.rows_continue(self.frozen, world.rows_position):
            self.frozen = self._write(self.frozen)
        else:
            self.frozen = None

    def _write(self, position: int) -> int:
        """The transaction: the row, and the position behind the record."""
        world, row = self.world, self.world.row
        match world.carts[position]:
            case State() as state if protocol.row_replaced(
                row.version if row else None,
                state.version,
                is_smaller=row is not None and len(state.ops) < len(row.ops),
            ):
                if row is not None and state.version < row.version:
                    world.problem(f"the row falls: {row.version.tag()} -> {state.version.tag()}")
                row = state
            case Deleted() as deleted:
                if row is not None and protocol.row_deleted(row.version, deleted):
                    if row.version_number > deleted.version.number:
                        world.problem(
                            f"the deletion of {deleted.version.tag()} takes the row {row.version.tag()}"
                        )
                    row = None
        world.write_rows(row, position + 1)
        return position + 1


class Follow:
    """Puts every record of `carts` into Redis; its position is in Redis."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.position = 0

    def steps(self, pick: int) -> None:
        """One or two records."""
        for _ in range(1 + pick % 2):
            self.step()

    def step(self) -> bool:
        """Put one record, or go to the position that Redis has; whether there was anything to do."""
        world = self.world
        if not world.redis.ready:
            return False
        if self.position >= len(world.carts):
            return self.resume()
        recorded = world.carts[self.position]
        copy = world.redis.cart
        redis, put_outcome = redis_mirror.follow_put(
            world.redis,
            self.position,
            recorded,
            world.redis_time,
        )
        if put_outcome is None:
            return self.resume()
        if recorded is not None:
            judge_put(world, copy, recorded, put_outcome)
        world.commit(redis)
        self.position += 1
        return True

    def resume(self) -> bool:
        """Go to the position that Redis has; whether it was another."""
        if self.position == self.world.redis.followed:
            return False
        self.world.exercised["follow went back"] += self.world.redis.followed < self.position
        self.position = self.world.redis.followed
        return True


class AntiEntropy:
    """Publishes again what Redis knows, `carts` does not and the outbox does not hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found: list[tuple[int, Change]] = []

    def scan(self, _pick: int) -> None:
        """Compare Redis's copy with the newest state."""
        self.look()

    def look(self) -> bool:
        """Find what to publish again; whether there is anything."""
        world = self.world
        copy = world.redis.cart
        if not world.redis.ready or copy is None:
            return False
        waiting = {entry.change.op_id for entry in world.redis.outbox}
        missing = set(states.uncovered(world.last_state() or State(), copy.window))
        found = [
            (world.now, Change(cart_id=CART, version=op.version, op_id=op.op_id, delta=op.delta))
            for op in copy.known.ops
            if (op.version, op.op_id) in missing
            and not states.made_by_the_fold(op)
            and protocol.may_republish(op.version, world.redis_time, TIMING, in_outbox=op.op_id in waiting)
        ]
        self.found.extend(found)
        return bool(found)

    def republish(self, pick: int) -> None:
        """Publish one that was found, unless the scan is too long ago."""
        if self.found:
            at, change = self.found.pop(pick % len(self.found))
            if protocol.publish_in_time(self.world.now, at, TIMING):
                self.world.exercised["healed by anti-entropy"] += 1
                self.world.publish(change)

    def rest(self) -> bool:
        """Publish and look again; whether there was anything."""
        busy = bool(self.found)
        while self.found:
            self.republish(0)
        return self.look() or busy


def put(world: World, redis: Redis, recorded: State | Deleted, row_from: int | None) -> Redis:
    """Put into Redis, and judge what happened to its copy."""
    after, put_outcome = redis_mirror.put(redis, recorded, world.redis_time, row_from)
    judge_put(world, redis.cart, recorded, put_outcome)
    return after


def judge_put(world: World, copy: StoredCart | None, state: State | Deleted, outcome: PutOutcome) -> None:
    """A put never hides an operation that only Redis knows, and never takes a version back."""
    if copy is None or outcome not in (PutOutcome.STORED, PutOutcome.REPLACED, PutOutcome.REMOVED):
        world.exercised["puts refused: not covering"] += outcome is PutOutcome.UNCOVERED
        return
    if not isinstance(state, State):
        if any(v > state.version.number for v, _ in copy.window):
            world.problem(f"the deletion of {state.version.tag()} hides {copy.version.tag()} from Redis")
        return
    hidden = [op_id for v, op_id in copy.window if not contains(state, v, op_id)]
    if hidden and not world.traits.skips:
        world.problem(f"put hides {hidden[0]} from Redis")
    v, n = protocol.rank(copy.version)
    wrote = outcome is not PutOutcome.REMOVED
    fell = wrote and protocol.rank(state.version) < (v, n - _lower_attempts(state, copy))
    if fell and not world.traits.skips and copy.version.number >= 2 * (world.redis_time - STALE):
        world.falls.append(f"{copy.version.tag()} -> {state.version.tag()}")


def _lower_attempts(state: State, copy: StoredCart) -> int:
    """How many of a copy's operations are lower attempts of some that the state has: they add to n alone.

    A restore may have folded one that came after the higher one, and follow then puts the record before it.
    """
    highest = {op.op_id: op.version for op in state.ops}
    exact = {(op.version, op.op_id) for op in state.ops}
    return sum((v, op_id) not in exact and v < highest.get(op_id, 0) for v, op_id in copy.window)


def folded(changes: list[Change]) -> State | None:
    """The fold of a log from nothing."""
    state: State | None = None
    floor = 0
    for change in changes:
        outcome = folding.fold(state, change, purge_floor=floor, retention_us=RETENTION, timing=TIMING)
        if outcome.verdict is folding.Verdict.DELETED and state is not None:
            floor = max(floor, state.version_number)
        state = outcome.state
    return state


def seen_copy(copy: StoredCart | None) -> object:
    """What a reader gets from Redis: nothing of an expired cart."""
    return None if copy is None or copy.known.expired else (copy.version, quantities(copy.content))
