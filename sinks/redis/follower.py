"""Keeps a partition of Redis current: follows `carts`, and restores the partition when its marker is gone.

The position to follow from is in Redis, moved by the script that puts the states. A Redis that falls back to
an older copy takes its position back with it, and what it has forgotten is read again.
"""

import asyncio
import time
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from carts.limits import TIMING
from carts.protocol import Deleted, Marker
from carts.state import Version
from runtime.clock import clock_us
from runtime.kafka.internals import client_of
from runtime.kafka.ranges import Record
from runtime.kafka.topic_ids import topic_ids
from sinks.errors import SinkError
from sinks.redis import metrics
from sinks.redis.copies import found_in
from sinks.redis.followed_log import FollowedLog
from sinks.redis.readable_carts import newest_by_header, newest_by_state
from sinks.redis.restore import Restorer
from sinks.redis.restore_slots import RestoreSlots
from store.redis import CartStore, Layout, PositionMoved, PutOutcome, PutResult, StatesNeeded, StoreError
from store.redis.partition_store import Followed
from topics.cart_records import DeletionRecord, StateRecord
from topics.errors import RecordError
from topics.registry import CARTS

log = structlog.get_logger(__name__)

BATCH: Final = 200
REMEMBERED: Final = 50_000
PAUSE_SECONDS: Final = 0.5


class PartitionFollower:
    """Follows one partition. `run` it as a task; cancel it when the partition is somebody else's."""

    def __init__(
        self,
        partition: int,
        store: CartStore,
        layout: Layout,
        consumer: AIOKafkaConsumer,
        followed_log: FollowedLog,
        restorer: Restorer,
        slots: RestoreSlots,
    ) -> None:
        """`consumer` has the partition of `carts` assigned; `followed_log` reads with it."""
        self.partition = partition
        self.position: int | None = None
        """The next offset to follow; None while it does not follow."""
        self.moved_at = time.monotonic()
        """When it last made progress, was at the end, or was busy with something other than reading."""
        self.uncovered: dict[str, tuple[tuple[int, str], ...]] = {}
        """By cart the (v, op_id) of Redis's copy that the last state put here lacked; not of every cart."""
        self._source = TopicPartition(CARTS.name, partition)
        self._store = store
        self._layout = layout
        self._consumer = consumer
        self._log = followed_log
        self._restorer = restorer
        self._slots = slots
        self._look_again = False

    async def run(self) -> None:
        """Restore and follow until cancelled. Failures of Redis and Kafka are waited out."""
        while True:
            try:
                await self._restore_or_follow()
            except (StoreError, KafkaError, SinkError, OSError) as error:
                # Unfinished work is read again from the position in Redis, so a retry loses nothing.
                log.warning("follower.waits", partition=self.partition, error=repr(error))
                self._made_progress()
                await asyncio.sleep(PAUSE_SECONDS)
            finally:
                self.position = None

    def look(self, position: int | None, *, ready: bool, followed: int | None) -> None:
        """Take in what Redis said when this was at `position`: its ready marker and its own position."""
        if position is None:
            return
        rewound = ready and followed is not None and followed < position
        if rewound:
            metrics.REWINDS.inc()
        if rewound or not ready or followed is None:
            self._look_again = True
            self._log.wake(self._source)

    async def _restore_or_follow(self) -> None:
        self._look_again = False
        marker = await self._store.marker(self.partition)
        position = await self._position(marker)
        followed_another = marker is not None and await self._followed_another(marker, position)
        if position is None or followed_another:
            async with self._slots.slot(self.partition):
                await self._restorer.restore(self.partition, whole=followed_another)
            self._made_progress()
            return
        await self._follow(position)

    async def _position(self, marker: Marker | None) -> int | None:
        """The position in Redis; None if the partition must be restored."""
        return None if marker is None else await self._store.followed(self.partition)

    async def _followed_another(self, marker: Marker, position: int | None) -> bool:
        """Whether Redis has followed another topic: this one was made again, or has lost its end."""
        end = (await self._consumer.end_offsets([self._source]))[self._source]
        if position is not None and position > end:
            log.error("follow.position_beyond_log", partition=self.partition, position=position, end=end)
            return True
        ids = await topic_ids(client_of(self._consumer), [CARTS.name])
        if CARTS.name in ids and ids[CARTS.name].hex != marker.topic_id:
            log.error("follow.other_topic", partition=self.partition, followed=marker.topic_id)
            return True
        return False

    async def _follow(self, position: int) -> None:
        """Follow from `position` until Redis turns out to be at another one."""
        log.info("follow.begun", partition=self.partition, position=position)
        self._consumer.seek(self._source, position)
        self._consumer.resume(self._source)
        self.uncovered.clear()
        self.position = position
        while not self._look_again:
            records = await self._log.read(self._source)
            for at in range(0, len(records), BATCH):
                some = records[at : at + BATCH]
                results = await self._put(position, some)
                if isinstance(results, PositionMoved):
                    log.warning(
                        "follow.position_moved",
                        partition=self.partition,
                        expected=position,
                        found=results.position,
                    )
                    return
                self.position = position = some[-1].offset + 1
                self._made_progress()
                self._note(results)

    async def _put(self, position: int, records: list[Record]) -> list[PutResult] | PositionMoved:
        """Put what the records say and move behind them.

        Redis has nearly every state already, for it made the changes, and some more by now. So it is asked by
        version first; only states of which that does not tell are read and sent.
        """
        partitions, after = self._layout.partitions, records[-1].offset + 1
        said, now_us = newest_by_header(records, partitions), clock_us()
        states: dict[str, Followed] = {cart_id: _version_of(each) for cart_id, each in said.items()}
        results: list[PutResult] | PositionMoved | StatesNeeded = StatesNeeded(
            frozenset(cart_id for cart_id, each in said.items() if _may_be_trimmed(each, now_us))
        )
        while isinstance(results, StatesNeeded):
            try:
                states |= {cart_id: found_in(said[cart_id]) for cart_id in results.cart_ids}
            except RecordError:
                # An older record of the cart among these may be readable.
                states = dict(newest_by_state(records, partitions))
            results = await self._store.follow_put(self.partition, position, after, list(states.items()))
        return results

    def _made_progress(self) -> None:
        self.moved_at = time.monotonic()

    def _note(self, results: list[PutResult]) -> None:
        metrics.FOLLOW_OFFSET.labels(self.partition).set(self.position or 0)
        for result in results:
            metrics.FOLLOWED.labels(result.outcome).inc()
            self.uncovered.pop(result.cart_id, None)
            if result.outcome is PutOutcome.UNCOVERED:
                # They are in the outbox, or published and not folded yet. A later record covers them;
                # if none does, anti-entropy finds them.
                self.uncovered[result.cart_id] = result.uncovered
        while len(self.uncovered) > REMEMBERED:
            del self.uncovered[next(iter(self.uncovered))]


def _version_of(said: StateRecord | DeletionRecord) -> Version | Deleted:
    return Deleted(said.version) if isinstance(said, DeletionRecord) else said.version()


def _may_be_trimmed(said: StateRecord | DeletionRecord, now_us: int) -> bool:
    """Whether the version may not tell the state from the one before: a trimmed state keeps its version.

    Only carts whose newest operation is older than W are trimmed. Half of that leaves room for other clocks.
    """
    version = said.version if isinstance(said, DeletionRecord) else said.version()
    return now_us - version.number // 2 > TIMING.window_us // 2
