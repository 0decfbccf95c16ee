"""The sinks: Postgres, and what keeps Redis equal to `carts`: restore, follow, anti-entropy."""

from dataclasses import dataclass

from carts import fold as folding
from carts import protocol
from carts import state as states
from carts.operations import Change
from carts.protocol import Deleted, PutOutcome
from carts.state import State
from tests.model import redis_mirror
from tests.model.redis_mirror import Redis, StoredCart
from tests.model.streams import Compaction
from tests.model.world import CART, RETENTION, STALE, TIMING, World, contains, quantities, seen
from topics.records import PurgeFloor


class PostgresSink:
    """Copies `carts` into the row, guarded by version."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.position = 0
        self.committed = 0

    def step(self, pick: int) -> None:
        """Take one record; every third time also commit."""
        self.take()
        if pick % 3 == 0:
            self.committed = self.position

    def take(self) -> bool:
        """Take one record; whether there was one."""
        if self.position >= len(self.world.carts):
            return False
        world, row = self.world, self.world.row
        match self.world.carts[self.position]:
            case State() as state if protocol.row_replaced(row.version if row else None, state.version):
                if row is not None and state.version < row.version:
                    world.problem(f"the row falls: {row.version.tag()} -> {state.version.tag()}")
                world.row = state
            case Deleted() as deleted if row is not None and protocol.row_deleted(row.version, deleted):
                if row.version_number > deleted.version.number:
                    world.problem(
                        f"the deletion of {deleted.version.tag()} takes the row {row.version.tag()}"
                    )
                world.row = None
        self.position += 1
        return True

    def killed(self, _pick: int) -> None:
        """The sink dies: what it had not committed comes again."""
        self.position = self.committed


@dataclass
class Restoring:
    """A restore under way; positions are those of `carts`, then those of `cart-changed`."""

    token: str
    carts_end: int
    log_from: int
    log_end: int
    from_nothing: bool
    sequence: int = 0
    position: int = 0
    folding: bool = False
    kept: State | Deleted | None = None
    purge_floor: int = 0


class Restore:
    """Fills Redis from `carts`, then folds what compaction may not have written yet."""

    def __init__(self, world: World, compaction: Compaction) -> None:
        self.world = world
        self.compaction = compaction
        self.current: Restoring | None = None
        self.tokens = 0

    def steps(self, pick: int) -> None:
        """One to five steps of a restore."""
        for _ in range(1 + pick % 5):
            self.step()

    def killed(self, _pick: int) -> None:
        """The restore agent dies; the next one begins anew."""
        self.current = None

    def step(self) -> bool:
        """Begin, put a record, fold a change, or finish; whether there was anything to do."""
        restoring = self.current
        if restoring is None:
            return self._begin()
        redis = redis_mirror.restore_step(self.world.redis, restoring.token, restoring.sequence)
        if redis is None:
            self.world.exercised["restores started over"] += 1
            self.current = None
            return True
        restoring.sequence += 1
        if not restoring.folding and restoring.position < restoring.carts_end:
            redis = self._put_record(restoring, redis)
        elif not restoring.folding:
            restoring.folding, restoring.position = True, restoring.log_from
        elif restoring.position < restoring.log_end:
            redis = self._fold_change(restoring, redis)
        else:
            redis = self._finish(restoring, redis)
        self.world.commit(redis)
        return True

    def _begin(self) -> bool:
        world = self.world
        if world.redis.ready:
            return False
        self.tokens += 1
        self.current = Restoring(
            token=f"t{self.tokens}",
            log_from=max(self.compaction.committed, world.log_start),
            log_end=len(world.log),
            carts_end=len(world.carts),
            from_nothing=world.redis.cart is None,
        )
        world.commit(redis_mirror.restore_begin(world.redis, self.current.token))
        return True

    def _put_record(self, restoring: Restoring, redis: Redis) -> Redis:
        entry = self.world.carts[restoring.position]
        restoring.position += 1
        if isinstance(entry, PurgeFloor):
            restoring.purge_floor = max(restoring.purge_floor, entry.purge_floor)
        elif entry is not None and protocol.keep_recovered(restoring.kept, entry) is entry:
            restoring.kept = entry
            return put(self.world, redis, entry)
        return redis

    def _fold_change(self, restoring: Restoring, redis: Redis) -> Redis:
        state = restoring.kept if isinstance(restoring.kept, State) else None
        change = self.world.log[restoring.position]
        restoring.position += 1
        outcome = folding.fold(
            state, change, purge_floor=restoring.purge_floor, retention_us=RETENTION, timing=TIMING
        )
        if outcome.state is not None:
            restoring.kept = outcome.state
        elif state is not None:
            restoring.kept = Deleted(state.version)
            restoring.purge_floor = max(restoring.purge_floor, state.version_number)
        return put(self.world, redis, restoring.kept) if restoring.kept is not None else redis

    def _finish(self, restoring: Restoring, redis: Redis) -> Redis:
        world = self.world
        world.exercised["restores"] += 1
        if restoring.from_nothing and not self.compaction.skipped and not world.traits.deletes:
            expected = seen(folded(world.log[: restoring.log_end]))
            found = seen_copy(redis.cart)
            if expected != found:
                world.problem(f"restored {found} is not the fold {expected}")
        self.current = None
        return redis_mirror.restore_finish(redis, restoring.carts_end)


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
            world.redis, self.position, None if isinstance(recorded, PurgeFloor) else recorded
        )
        if put_outcome is None:
            return self.resume()
        if recorded is not None and not isinstance(recorded, PurgeFloor):
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


def put(world: World, redis: Redis, recorded: State | Deleted) -> Redis:
    """Put into Redis, and judge what happened to its copy."""
    after, put_outcome = redis_mirror.put(redis, recorded)
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
    """What a reader gets from Redis."""
    return None if copy is None else (copy.version, quantities(copy.content))
