"""Keeps the product cache: fills it from `products` when it is empty, then follows.

Where to read from stands in Redis, moved by the script that puts the products. A cache that was wiped, or
fell back to an older copy, takes its position along, and what it has forgotten is read again.

A compacted topic keeps the last record of a product, which need not be its newest version. Where the cache
knows a newer one it is published again before the position moves, or a refilled cache would go back.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from carts.products import Product
from runtime.kafka.ranges import Record, Tail, all_moved
from sinks.errors import CatalogueStalled
from sinks.redis import metrics
from sinks.redis.membership import fail_with_client, fail_with_topic, joined, lags
from sinks.redis.product_records import understand_product
from sinks.redis.settings import RedisSinkSettings
from store.redis import PipelinedClient, StoreError
from store.redis.catalogue import (
    Following,
    NoRoom,
    ProductCache,
    ProductDeletion,
    ProductsPut,
    Regressed,
)
from store.redis.memory import fullest, read_memories
from topics.codec import encode_product
from topics.dead_letters import DeadLetterRecord, DeadLetters, SourceRecord
from topics.errors import RecordError
from topics.groups import CATALOGUE_SINK
from topics.headers import product_headers, product_tombstone_headers
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.registry import DEAD_LETTERS, PRODUCTS

log = structlog.get_logger(__name__)

POLL_MS: Final = 250
POLL_RECORDS: Final = 800
BATCH: Final = 50
"""Products in one script call; requests for carts wait in Redis while it runs."""
LOOK_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.5


class Place:
    """Where a partition is read. `end` is the end of the topic when reading started."""

    def __init__(self, position: int | None, end: int, tail: Tail) -> None:
        self.position = position
        self.end = end
        self.tail = tail
        self.ended = False
        """Whether the cache knows that it has everything up to `end`."""


class CatalogueFollower:
    """One member of the group that fills the cache; members share the partitions. `run` until cancelled."""

    def __init__(self, settings: RedisSinkSettings, client: PipelinedClient) -> None:
        """`client` is connected and belongs to the caller."""
        self._settings = settings
        self._client = client
        self._cache = ProductCache(client)
        self._partitions = settings.partitions_of(PRODUCTS.name)
        self._dead_letters = DeadLetters(CATALOGUE_SINK, self._send_dead_letter)
        self._generation = ""
        self._places: dict[int, Place] = {}
        self._standing: set[int] = set()
        """Partitions whose next product finds no room in Redis."""
        self._looked_at = 0.0
        self._moved_at = time.monotonic()
        self._assigned = False

    async def run(self, ready: Callable[[], None]) -> None:
        """Join the group and follow its partitions; `ready` is called once, when all are read to the end.

        Raises CatalogueStalled, ClientDied or TopicMadeAnew (in a group), after which only a new process
        helps, KafkaError without a cluster.
        """
        async with (
            joined(
                self._settings,
                CATALOGUE_SINK,
                PRODUCTS.name,
                assigned=self._assign,
                revoked=self._nothing_to_release,
            ) as consumer,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._keep(consumer, ready))
            group.create_task(self._measure(consumer))
            group.create_task(fail_with_client(consumer))
            group.create_task(fail_with_topic(consumer, PRODUCTS.name))

    async def _nothing_to_release(self, _: list[int]) -> None:
        """Nothing: the position in Redis guards against the next owner."""

    async def _assign(self, *_: object) -> None:
        # Another member may have moved the positions: read them from Redis again.
        self._places.clear()
        self._standing.clear()
        self._looked_at = 0.0
        self._assigned = True

    async def _keep(self, consumer: AIOKafkaConsumer, ready: Callable[[], None]) -> None:
        announced = False
        while True:
            try:
                await self._look(consumer)
                found = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
                await self._follow_all(found)
                if found:
                    all_moved(place.tail for place in self._places.values())
                else:
                    await self._end_quiet_partitions()
            except (StoreError, KafkaError, OSError) as error:
                # Unfinished work is read again from the position in Redis, so a retry loses nothing.
                log.warning("catalogue.waits", error=repr(error))
                self._places.clear()
                self._made_progress()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            metrics.WAITS_FOR_ROOM.labels("products").set(bool(self._standing))
            if self._standing:
                self._made_progress()
                await asyncio.sleep(PAUSE_SECONDS)
            if not announced and self._is_ready(consumer):
                announced = True
                log.info("catalogue.ready", partitions=sorted(self._places))
                ready()

    def _is_ready(self, consumer: AIOKafkaConsumer) -> bool:
        return (
            self._assigned
            and len(self._places) == len(consumer.assignment())
            and all(place.ended for place in self._places.values())
        )

    # Where to read

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Every second, and for a new partition at once: get the positions from Redis and read from there."""
        assigned = {source.partition for source in consumer.assignment()}
        if assigned == self._places.keys() and time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        memory = fullest(await read_memories(self._client))
        self._cache.has_room = memory.has_room(self._settings.redis_reserve_share)
        following = await self._cache.follow(self._partitions)
        metrics.CATALOGUE_COMPLETE.set(following.complete)
        if following.generation != self._generation:
            log.info("catalogue.generation", generation=following.generation, complete=following.complete)
            if not following.positions:
                metrics.CATALOGUE_REFILLS.inc()
            self._generation = following.generation
            self._places.clear()
        for partition in self._places.keys() - assigned:
            del self._places[partition]
        moved = {
            partition
            for partition, place in self._places.items()
            if following.positions.get(partition) != place.position
        }
        for partition in moved:
            # Redis has gone back to an older copy, or another member has had the partition.
            log.warning("catalogue.position_moved", partition=partition)
            metrics.REWINDS.inc()
            del self._places[partition]
        if missing := assigned - self._places.keys():
            await self._place(consumer, missing, following)
        self._looked_at = time.monotonic()

    async def _place(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[int], following: Following
    ) -> None:
        sources = [TopicPartition(PRODUCTS.name, partition) for partition in partitions]
        begins = await consumer.beginning_offsets(sources)
        ends = await consumer.end_offsets(sources)
        for source in sources:
            position = following.positions.get(source.partition)
            start = begins[source] if position is None else position
            if start > ends[source]:
                # The topic was made again. The cache keeps its products, for they may be the only copy, and
                # reads the new topic from its beginning.
                log.error(
                    "catalogue.position_beyond_log",
                    partition=source.partition,
                    position=position,
                    end=ends[source],
                )
                start = begins[source]
            consumer.seek(source, start)
            place = Place(position, ends[source], Tail(consumer, source))
            self._places[source.partition] = place
            log.info("catalogue.follows", partition=source.partition, position=start, end=place.end)
            if start >= place.end:
                await self._put(source.partition, place, start, [])
        self._made_progress()

    async def _end_quiet_partitions(self) -> None:
        """Finish partitions whose last offsets compaction has emptied: no record will reach their end."""
        for partition, place in list(self._places.items()):
            if not place.ended and place.tail.nothing_is_left(place.end):
                await self._put(partition, place, place.end, [])

    # What is read

    async def _follow_all(self, found: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Follow what was read of each partition to its end, also when that of another one fails."""
        ended = await asyncio.gather(
            *(self._follow(source.partition, records) for source, records in found.items()),
            return_exceptions=True,
        )
        for error in ended:
            if error is not None:
                raise error

    async def _follow(self, partition: int, records: Sequence[Record]) -> None:
        # They follow each other from this place on. A later one may be elsewhere, if Redis has fallen back.
        place = self._places.get(partition)
        # What is before the first product that finds no room is followed.
        size = 1 if partition in self._standing else BATCH
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            if place is None or self._places.get(partition) is not place:
                return  # it is read again from the position in Redis
            changes = [change for record in batch if (change := await self._understood(record)) is not None]
            if not await self._put(partition, place, batch[-1].offset + 1, changes):
                self._places.pop(partition, None)
                return

    async def _put(
        self, partition: int, place: Place, position: int, changes: Sequence[Product | ProductDeletion]
    ) -> bool:
        """Put the changes and move to `position`; if the cache is at another position, drop the place.

        False: Redis is full, so the partition stands still.
        """
        outcome = await self._cache.put(
            partition,
            self._generation,
            place.position,
            position,
            changes,
            partitions=self._partitions,
            at_end=position >= place.end,
        )
        if isinstance(outcome, Regressed):
            await self._publish_again(partition, outcome.current)
            metrics.PRODUCTS.labels("published_again").inc(len(outcome.current))
            # With all products again: Redis may have fallen back to before they were put.
            newer = {one.product_id: one for one in outcome.current}
            others = [change for change in changes if change.product_id not in newer]
            return await self._put(partition, place, position, [*others, *newer.values()])
        if isinstance(outcome, NoRoom):
            if partition not in self._standing:
                log.warning("catalogue.stands_still", partition=partition, meaning="Redis is full")
            self._standing.add(partition)
            return False
        self._standing.discard(partition)
        if isinstance(outcome, ProductsPut):
            place.position = position
            place.ended = place.ended or position >= place.end
            metrics.PRODUCTS_OFFSET.labels(partition).set(position)
            metrics.PRODUCTS.labels("applied").inc(outcome.applied)
            metrics.PRODUCTS.labels("unchanged").inc(outcome.unchanged)
            self._made_progress()
        elif self._places.get(partition) is place:
            log.warning("catalogue.moved", partition=partition, expected=place.position, found=outcome)
            del self._places[partition]
        return True

    async def _understood(self, record: Record) -> Product | ProductDeletion | None:
        """What the record says; None for an unreadable one, which becomes a dead letter."""
        try:
            return understand_product(record, self._partitions)
        except RecordError as error:
            source = SourceRecord(
                record.topic,
                record.partition,
                record.offset,
                record.key,
                record.value,
                list(record.headers),
            )
            await self._dead_letters.keep(source, error.code, error.detail)
            return None

    async def _send_dead_letter(self, letter: DeadLetterRecord) -> None:
        partition = partition_of(letter.key or b"", self._partitions)
        # Dead letters are rare: a permanent connection would need supervision.
        async with Publisher(self._settings) as publisher:
            await publisher.publish(DEAD_LETTERS.name, partition, *letter)

    async def _publish_again(self, partition: int, current: Sequence[Product | ProductDeletion]) -> None:
        log.warning("catalogue.regressed", partition=partition, products=len(current))
        async with Publisher(self._settings) as publisher:
            await publisher.publish_all(PRODUCTS.name, partition, [_record(one) for one in current])

    # How it goes

    def _made_progress(self) -> None:
        self._moved_at = time.monotonic()

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        """Measure the lag of every partition. Raises CatalogueStalled after a long time without progress."""
        async for measured in lags(consumer, PRODUCTS.name, self._positions):
            for partition, lag in measured.items():
                metrics.PRODUCTS_LAG.labels(partition).set(lag.records)
                metrics.PRODUCTS_LAG_SECONDS.labels(partition).set(lag.seconds)
            if not any(lag.records for lag in measured.values()):
                # Otherwise the first record after a quiet hour would count as an hour without progress.
                self._made_progress()
            elif time.monotonic() - self._moved_at > self._settings.stall_after_s:
                raise CatalogueStalled

    def _positions(self) -> dict[int, int]:
        return {partition: place.position or 0 for partition, place in self._places.items()}


def _record(current: Product | ProductDeletion) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    key = current.product_id.encode()
    if isinstance(current, ProductDeletion):
        return key, None, product_tombstone_headers(current.product_id, current.version, datetime.now(UTC))
    return key, encode_product(current), product_headers(current)
