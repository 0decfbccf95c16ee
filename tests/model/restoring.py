"""What makes Redis whole again: the restore, from the tail of `carts` or all of it, and warming."""

from dataclasses import dataclass
from typing import Final

from carts import fold as folding
from carts import protocol
from carts.protocol import Deleted
from carts.state import State
from tests.model import redis_mirror, tail
from tests.model.redis_mirror import Found, Redis
from tests.model.sinks import folded, put, seen_copy
from tests.model.streams import Compaction
from tests.model.tail import Marker, Miss
from tests.model.world import RETENTION, STALE, TIMING, World, contains, seen


@dataclass
class Restoring:
    """A restore under way; positions are those of `carts`, then those of `cart-changed`.

    `reads` is what it has still to ask for: S the position of the rows, C the committed position of
    compaction, X the end of `carts`, E the end of `cart-changed`.
    """

    token: str
    from_nothing: bool
    reads: list[str]
    tail: bool
    published: int
    """How much of `cart-changed` there was when it began."""
    sequence: int = 0
    rows_position: int = 0
    carts_end: int = 0
    log_from: int = 0
    log_end: int = 0
    position: int = 0
    scanned: bool = False
    folding: bool = False
    touched: bool = False
    kept: State | Deleted | None = None
    purge_floor: int = 0


ORDERS: Final = ("SCXE", "SCEX", "ESCX", "CSXE", "CXSE", "CEXS")
"""Orders of reading: only X comes after C."""


class Restore:
    """Fills Redis from `carts`, a tail or all, then folds what compaction may not have written yet."""

    def __init__(self, world: World, compaction: Compaction) -> None:
        self.world = world
        self.compaction = compaction
        self.current: Restoring | None = None
        self.tokens = 0

    def steps(self, pick: int) -> None:
        """One to five steps of a restore. A high pick begins one without Postgres."""
        for _ in range(1 + pick % 5):
            self.step(pick)

    def killed(self, _pick: int) -> None:
        """The restore agent dies; the next one begins anew."""
        self.current = None

    def step(self, pick: int = 0) -> bool:
        """Begin, ask, put a record, fold a change, or finish; whether there was anything to do."""
        restoring = self.current
        if restoring is None:
            return self.begin(pick)
        redis = redis_mirror.restore_step(self.world.redis, restoring.token, restoring.sequence)
        if redis is None:
            return self._start_over()
        restoring.sequence += 1
        if restoring.reads:
            redis = self._read(restoring, restoring.reads.pop(0), redis)
        elif restoring.position < restoring.carts_end and not restoring.scanned:
            redis = self._put_record(restoring, redis)
        elif not restoring.scanned:
            restoring.scanned = True
            # Written before the deletions: after `carts` it is at least that of every deletion read there.
            restoring.purge_floor = max(restoring.purge_floor, self.world.purge_floor)
            restoring.touched = restoring.kept is not None or restoring.log_from < restoring.log_end
            if restoring.tail and restoring.touched:
                if not tail.rows_stand_at(restoring.rows_position, self.world.rows_position):
                    return self._start_over()
                redis = self._put_base(restoring, redis)
        elif not restoring.folding:
            restoring.folding, restoring.position = True, restoring.log_from
        elif restoring.position < restoring.log_end:
            redis = self._fold_change(restoring, redis)
        else:
            redis = self._finish(restoring, redis)
        self.world.commit(redis)
        return True

    def order(self, pick: int) -> str:
        """In which order it asks."""
        return ORDERS[pick % len(ORDERS)]

    def follow_from(self, restoring: Restoring) -> int:
        """The position that is followed from."""
        return restoring.carts_end

    def _start_over(self) -> bool:
        self.world.exercised["restores started over"] += 1
        self.current = None
        return True

    def begin(self, pick: int) -> bool:
        """Write the token, if there is no marker; whether there was none."""
        world = self.world
        if world.redis.ready:
            return False
        self.tokens += 1
        is_tail = pick < 48
        self.current = Restoring(
            token=f"t{self.tokens}",
            from_nothing=world.redis.cart is None,
            reads=list(self.order(pick)),
            tail=is_tail,
            published=len(world.log),
        )
        world.commit(redis_mirror.restore_begin(world.redis, self.current.token))
        return True

    def _read(self, restoring: Restoring, what: str, redis: Redis) -> Redis:
        world = self.world
        match what:
            case "S":
                position = world.rows_position if restoring.tail else None
                start = tail.tail_start(position, redis.since, len(world.carts))
                restoring.rows_position = position or 0
                restoring.tail = start is not None
                restoring.position = start or 0
                return redis_mirror.restore_since(redis, restoring.position)
            case "C":
                restoring.log_from = max(self.compaction.committed, world.log_start)
            case "X":
                restoring.carts_end = len(world.carts)
            case _:
                restoring.log_end = len(world.log)
        return redis

    def _put_record(self, restoring: Restoring, redis: Redis) -> Redis:
        """A record of `carts`; of a tail it waits for the row."""
        entry = self.world.carts[restoring.position]
        restoring.position += 1
        if entry is not None and protocol.keep_recovered(restoring.kept, entry) is entry:
            restoring.kept = entry
            if not restoring.tail:
                return put(self.world, redis, entry, restoring.carts_end)
        return redis

    def _put_base(self, restoring: Restoring, redis: Redis) -> Redis:
        """The cart is in the tail, or changed since the commit: its row counts too, and the purge floor."""
        world = self.world
        world.exercised["restores with the cart in the tail"] += 1
        if isinstance(restoring.kept, Deleted):
            restoring.purge_floor = max(restoring.purge_floor, restoring.kept.version.number)
        restoring.kept = tail.restoration_base(restoring.kept, world.hydration_row())
        if restoring.kept is None:
            return redis
        return put(world, redis, restoring.kept, restoring.carts_end)

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
        return put(self.world, redis, restoring.kept, None) if restoring.kept is not None else redis

    def _finish(self, restoring: Restoring, redis: Redis) -> Redis:
        world = self.world
        world.exercised["restores"] += 1
        world.exercised["restores without the cart"] += restoring.tail and not restoring.touched
        if restoring.from_nothing and not self.compaction.skipped and not world.traits.deletes:
            self._judge(restoring, redis)
        self.current = None
        world.restored_to[restoring.token] = max(restoring.published, restoring.log_end)
        world.redis_fell_back = False
        marker = Marker(restoring.token, restoring.rows_position if restoring.tail else 0, world.redis_time)
        return redis_mirror.restore_finish(redis, self.follow_from(restoring), marker)

    def _judge(self, restoring: Restoring, redis: Redis) -> None:
        """After a scan Redis has what the log has; after a tail Redis or the row has it."""
        world, end = self.world, max(restoring.published, restoring.log_end)
        expected = folded(world.log[:end])
        if not restoring.tail and len(world.log) == end:
            if seen(expected) != seen_copy(redis.cart):
                world.problem(f"restored {seen_copy(redis.cart)} is not the fold {seen(expected)}")
            return
        if redis.cart is None and world.rows_position < restoring.rows_position:
            return  # no row counts, and the sink comes to it again
        have = redis.cart.known if redis.cart is not None else world.row
        if expected is not None and any(
            have is None or not contains(have, op.version, op.op_id) for op in expected.ops
        ):
            world.problem(
                f"restored {seen_copy(redis.cart)} and row {seen(world.row)} lack something of the log"
            )


@dataclass
class Warming:
    """A pass over `carts`, newest first: which carts there are; their states come from the rows."""

    position: int
    miss: Miss | None = None
    found: Found | None = None


class Warm:
    """Brings in, in the background, what nobody has asked for yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.passes: list[Warming] = []

    def steps(self, pick: int) -> None:
        """Begin, or a few steps of a pass: the second is one that was frozen."""
        if not self.passes:
            if self.world.redis.ready:
                self.passes.append(Warming(self.world.redis.followed))
            return
        warming = self.passes[pick % len(self.passes)]
        for _ in range(1 + pick // 2 % 4):
            if warming in self.passes:
                self._step(warming)

    def killed(self, _pick: int) -> None:
        """A pass may end anywhere."""
        self.passes = self.passes[1:]

    def moved(self, _pick: int) -> None:
        """Whoever warms freezes; another takes over and begins anew."""
        if len(self.passes) == 1 and self.world.redis.ready:
            self.passes.append(Warming(self.world.redis.followed))

    def _step(self, warming: Warming) -> None:
        """Go on to the next cart; ask Redis for it; read its row; bring it in."""
        world = self.world
        if warming.found is not None:
            self.bring_in(warming, warming.found)
            warming.found = None
        elif warming.miss is not None:
            row = world.hydration_row()
            if row is not None and not row.expired:
                warming.found = Found(warming.miss, row, world.rows_position)
            warming.miss = None
        elif warming.position == 0:
            self.passes.remove(warming)
        else:
            warming.position -= 1
            marker = world.redis.marker
            is_state = isinstance(world.carts[warming.position], State)
            if marker is not None and world.redis.cart is None and is_state:
                warming.miss = Miss(marker.restoration, world.redis_time)

    def bring_in(self, _warming: Warming, found: Found) -> None:
        """As a hydration that somebody has asked for."""
        world = self.world
        redis = redis_mirror.hydrate(world.redis, found, world.redis_time, STALE)
        world.exercised["warmed"] += redis != world.redis
        world.commit(redis)
