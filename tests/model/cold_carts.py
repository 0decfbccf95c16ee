"""Carts that Redis lacks: looks for their rows, hydration, and what readers are shown."""

from dataclasses import dataclass
from typing import Final

from carts import protocol
from carts import state as states
from carts.operations import Change
from carts.state import State
from tests.model import redis_mirror, tail
from tests.model.redis_mirror import Found, Request
from tests.model.tail import Marker, Miss
from tests.model.world import STALE, World, contains

NEGATIVE: Final = 15
"""How long a gateway remembers for readers that there is no row."""


@dataclass
class LookUp:
    """A request, or a reader (none), that met an unknown cart; with the row once that has been read.

    `acknowledged` is what was when the reader asked.
    """

    request: Request | None
    found: Found
    marker: Marker
    acknowledged: frozenset[str] = frozenset()


class ColdCarts:
    """What all gateways do about a cart that Redis lacks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.query: tuple[State | None, int] | None = None
        """A look for the row that has begun: what it will answer."""
        self.absent_until = 0
        self.absent_under: Marker | None = None

    def start_query(self, _pick: int) -> None:
        """Somebody's look for the row begins; the answer takes its time."""
        self.query = self.world.hydration_row(), self.world.rows_position

    def missed(self, request: Request) -> LookUp:
        """A request meets an unknown cart: a new one has no row, any other is looked for."""
        marker = self.world.redis.marker
        assert marker is not None
        if self._is_new(marker):
            return LookUp(request, self._found(self._miss(), None, marker.rows_position), marker)
        return LookUp(request, self.look(), marker)

    def read_row(self, looked: LookUp) -> None:
        """The row is read once more."""
        looked.found = self._found(looked.found.miss, self.world.hydration_row(), self.world.rows_position)

    def shown_now(self) -> None:
        """Whoever has written sees Redis's copy."""
        copy = self.world.redis.cart
        assert copy is not None
        self._shown(copy.known, frozenset(self.world.acknowledged), self.world.redis.marker)

    def look(self) -> Found:
        """Ask Redis for a cart that it lacks, then Postgres."""
        self.check_rows()
        row, position = self.world.hydration_row(), self.world.rows_position
        if self.query is not None and self.joins():
            (row, position), self.query = self.query, None
        return self._found(self._miss(), row, position)

    def joins(self) -> bool:
        """Whether a look may share the answer of one that has begun before it."""
        return False

    def bring_in(self) -> Found | None:
        """Bring in a cart that Redis lacks, for whoever takes something out of it; what was found, if so."""
        world = self.world
        if not world.redis.ready or redis_mirror.present(world.redis, world.redis_time, STALE) is not None:
            return None
        found = self.look()
        self.hydrate(found)
        return found

    def hydrate(self, found: Found) -> None:
        """Run the hydration script."""
        world = self.world
        redis = redis_mirror.hydrate(world.redis, found, world.redis_time, STALE)
        if redis != world.redis:
            world.exercised["hydrations"] += 1
            world.commit(redis)

    def view(self) -> LookUp | None:
        """A reader asks for the cart; the look for its row, if there has to be one."""
        world, marker = self.world, self.world.redis.marker
        if marker is None:
            return None
        acknowledged = frozenset(world.acknowledged)
        copy = redis_mirror.present(world.redis, world.redis_time, STALE)
        if copy is not None:
            self._shown(copy.known, acknowledged, marker)
        elif self._is_new(marker) or self._is_absent(marker):
            self._shown(None, acknowledged, marker)
        else:
            world.exercised["reads of the row"] += 1
            return LookUp(None, self.look(), marker, acknowledged)
        return None

    def check_rows(self) -> None:
        """A cart that a ready Redis lacks has in its row everything before the follow position."""
        world = self.world
        if world.cart_was_evicted or world.traits.deletes or world.traits.skips:
            return
        marker = world.redis.marker
        if world.rows_fell_back and (marker is None or world.rows_position < marker.rows_position):
            return  # they count again once the sink has been there
        row = world.row or State()
        for entry in world.carts[: world.redis.followed]:
            if isinstance(entry, State) and not protocol.too_stale(entry.version_number, world.now, STALE):
                lacking = states.uncovered(row, [(op.version, op.op_id) for op in entry.ops])
                if lacking:
                    world.problem(f"neither Redis nor the row has {lacking[0][1]} of a followed record")

    def _miss(self) -> Miss:
        marker = self.world.redis.marker
        assert marker is not None
        return Miss(marker.restoration, self.world.redis_time)

    def _found(self, miss: Miss, row: State | None, position: int) -> Found:
        forgotten = self.world.row.version_number if self.world.row is not None and row is None else 0
        return Found(miss, row, position, forgotten)

    def _is_new(self, marker: Marker) -> bool:
        minted = self.world.minted_at
        return self.world.now - minted <= tail.MINTED and tail.minted_since(minted, marker)

    def _is_absent(self, marker: Marker) -> bool:
        if self.absent_under is None or self.absent_until <= self.world.now:
            return False
        return tail.absence_remembered(marker, self.absent_under)

    def viewed(self, looked: LookUp) -> None:
        """A reader has the row: bring it in, and show what Redis has then."""
        world, found = self.world, looked.found
        counts = redis_mirror.counts(world.redis, found, world.redis_time)
        if found.row is None:
            if counts:
                self.absent_until, self.absent_under = world.now + NEGATIVE, looked.marker
        elif not found.row.expired:
            self.hydrate(found)
        copy = redis_mirror.present(world.redis, world.redis_time, STALE)
        if copy is not None and world.redis.marker is not None and found.row is not None:
            self._shown(copy.known, looked.acknowledged, world.redis.marker)
        elif counts:
            self._shown(found.row, looked.acknowledged, looked.marker)

    def _shown(self, state: State | None, acknowledged: frozenset[str], marker: Marker | None) -> None:
        """Somebody sees this: it has what was acknowledged, as long as Redis only forgot everything."""
        world, traits = self.world, self.world.traits
        if marker is None or world.redis_fell_back or traits.skewed or traits.skips or traits.deletes:
            return
        if any(change.op_id.startswith("!") for change in world.log):
            return
        for position, change in enumerate(world.log):
            if change.op_id not in acknowledged or protocol.too_stale(
                change.version, world.redis_time, STALE
            ):
                continue
            if self.is_promised(position, change, marker) and (
                state is None or not contains(state, change.version, change.op_id)
            ):
                world.problem(f"a reader misses acknowledged {change.op_id}")
                return

    def is_promised(self, position: int, change: Change, marker: Marker) -> bool:
        """Whether readers see it: the restoration has found its record, or Redis was ready before it.

        What was under way when Redis was lost may get into the log later. It comes by following.
        """
        since = marker == self.world.redis.marker and change.version > 2 * marker.time_us
        return since or position < self.world.restored_to[marker.restoration]
