"""What happens to Redis, to the topics and to the clock."""

import msgspec

from carts.protocol import Deleted
from carts.state import State
from tests.model import tail
from tests.model.redis_mirror import Redis
from tests.model.streams import Compaction
from tests.model.world import COMPACTION_LAG, DELETE_RETENTION, LOG_RETENTION, World


class Faults:
    """Wipes, failovers, evictions, backups put back, retention, compaction, time."""

    def __init__(self, world: World, compaction: Compaction) -> None:
        self.world = world
        self.compaction = compaction

    def wipe(self, _pick: int) -> None:
        """Redis loses everything, the marker included."""
        self.world.exercised["wipes"] += 1
        self.world.outbox_was_lost = True
        self.world.commit(Redis())

    def failover(self, pick: int) -> None:
        """Redis falls back to a replica that was one to eight commits behind."""
        world = self.world
        world.exercised["failovers"] += 1
        world.outbox_was_lost = world.redis_fell_back = True
        age = min(1 + pick % 8, len(world.redis_history) - 1)
        if world.traits.skewed:
            world.skew = -(pick // 8 % 4)
        world.commit(world.redis_history[-1 - age])

    def back_up(self, _pick: int) -> None:
        """Somebody saves a backup of Redis."""
        self.world.redis_backup = self.world.redis

    def put_back(self, _pick: int) -> None:
        """Somebody puts the backup back, however old."""
        if self.world.redis_backup is not None:
            self.world.exercised["backups put back"] += 1
            self.world.outbox_was_lost = self.world.redis_fell_back = True
            self.world.commit(self.world.redis_backup)

    def rows_fall(self, pick: int) -> None:
        """Postgres is put back to an earlier time."""
        world = self.world
        world.exercised["rows put back"] += 1
        world.rows_fell_back = True
        rows = world.rows_history[-1 - min(1 + pick % 8, len(world.rows_history) - 1)]
        world.row, world.rows_position = rows

    def evict(self, _pick: int) -> None:
        """The cart's keys reach their time to live."""
        if self.world.redis.cart is not None and self.world.redis.ready:
            self.world.exercised["evictions"] += 1
            self.world.cart_was_evicted = self.world.redis_fell_back = True
            self.world.commit(msgspec.structs.replace(self.world.redis, cart=None))

    def drop_expired(self, _pick: int) -> None:
        """The copy of an expired cart leaves Redis."""
        world, copy = self.world, self.world.redis.cart
        marker = world.redis.marker
        if copy is None or not copy.known.expired or marker is None:
            return
        age_us = world.redis_time - copy.put_at
        if tail.expired_copy_may_go(age_us, copy.row_from, world.rows_position):
            world.exercised["expired copies dropped"] += 1
            marker = tail.marker_without_copy(marker, copy.row_from or 0)
            world.commit(msgspec.structs.replace(world.redis, cart=None, marker=marker))

    def wait(self, pick: int) -> None:
        """Time passes: up to a window."""
        self.world.now += pick

    def wait_long(self, pick: int) -> None:
        """Time passes: about the retention of an expired cart."""
        self.world.now += 270 + 3 * pick

    def drop_old_log(self, pick: int) -> None:
        """`cart-changed` drops what is older than its retention and has been committed."""
        world = self.world
        end = min(self.compaction.committed, self.compaction.owner.position)
        while world.log_start < end and world.now - world.log_times[world.log_start] > LOG_RETENTION + pick:
            world.log_start += 1

    def compact(self, _pick: int) -> None:
        """`carts` drops records that have a successor, and nulls that everybody has read.

        The owner answers a record that fell behind its table well within the compaction lag: this is an
        assumption of the protocol (the highest record would be gone otherwise), not a finding.
        """
        world = self.world
        self.compaction.settle()
        for position, entry in enumerate(world.carts):
            age = world.now - world.carts_times[position]
            if entry is None or age <= COMPACTION_LAG:
                continue
            if isinstance(entry, Deleted):
                read = age > DELETE_RETENTION and self.world.rows_position > position
                first = not any(isinstance(other, State) for other in world.carts[:position])
                droppable = read and (first or self._succeeded(position))
            else:
                droppable = self._succeeded(position)
            if droppable:
                world.carts[position] = None

    def _succeeded(self, position: int) -> bool:
        world = self.world
        return any(
            entry is not None and world.now - world.carts_times[later] > COMPACTION_LAG
            for later, entry in enumerate(world.carts[position + 1 :], position + 1)
        )
