"""How far each stage behind the adds is: the outboxes in Redis, compaction, both sinks."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from statistics import fmean
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from devstack.embedded import EmbeddedStack
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from topics.committed import committed_offsets
from topics.groups import COMPACTION, POSTGRES_SINK
from topics.registry import CART_CHANGED, CARTS, PARTITIONS

OUTBOX: Final = "outbox"
SINK_REDIS: Final = "sink-redis"
GROUPS: Final = {"compaction": (COMPACTION, CART_CHANGED.name), "sink-postgres": (POSTGRES_SINK, CARTS.name)}
"""The stages whose positions are committed offsets, and what they read."""
SOURCES: Final = {SINK_REDIS: CARTS.name} | {stage: topic for stage, (_, topic) in GROUPS.items()}
STAGES: Final = (OUTBOX, *SOURCES)

LOOK_S: Final = 0.5
WITHIN_S: Final = 300.0
LONGEST_S: Final = 5.0
GROWTH_S: Final = 0.5


class Lag(msgspec.Struct, frozen=True):
    """Records that wait for a stage, and how long the first of them has waited, within half a second."""

    records: int
    seconds: float


class Ends:
    """When the end of a log had moved on: what tells the age of the first record at a position."""

    def __init__(self) -> None:
        self._moved: deque[tuple[float, int]] = deque()

    def note(self, at_s: float, end: int) -> None:
        """The log ends there now."""
        if not self._moved or self._moved[-1][1] != end:
            self._moved.append((at_s, end))

    def age_s(self, at_s: float, position: int) -> float:
        """How long ago the log went beyond the position; 0 if it has not. Positions never go back."""
        while self._moved and self._moved[0][1] <= position:
            self._moved.popleft()
        return at_s - self._moved[0][0] if self._moved else 0.0


class Lags:
    """Looks at the stages. Make one with `watching`."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, store: CartStore) -> None:
        self._admin = admin
        self._consumer = consumer
        self._store = store
        self._ends = {stage: [Ends() for _ in range(PARTITIONS)] for stage in SOURCES}

    async def look(self) -> dict[str, Lag]:
        """The lag of every stage now."""
        # Positions first: a log that grows between the two questions makes a lag longer, never shorter.
        positions = {stage: await self._committed(*group) for stage, group in GROUPS.items()}
        partitions = range(PARTITIONS)
        followed = await asyncio.gather(*(self._store.followed(partition) for partition in partitions))
        positions[SINK_REDIS] = {partition: followed[partition] or 0 for partition in partitions}
        depths = await self._store.outbox_depths()
        found = {
            OUTBOX: Lag(
                sum(depth.entries for depth in depths), max(depth.oldest_us for depth in depths) / 1e6
            )
        }
        ends = await self._consumer.end_offsets(
            TopicPartition(topic, partition) for topic in set(SOURCES.values()) for partition in partitions
        )
        now = time.monotonic()
        for stage, topic in SOURCES.items():
            own = {partition: ends[TopicPartition(topic, partition)] for partition in partitions}
            found[stage] = self._lag(now, stage, positions[stage], own)
        return found

    async def _committed(self, group: str, topic: str) -> dict[int, int]:
        found = await committed_offsets(self._admin, group)
        return {place.partition: offset for place, offset in found.items() if place.topic == topic}

    def _lag(self, now: float, stage: str, positions: Mapping[int, int], ends: Mapping[int, int]) -> Lag:
        records, seconds = 0, 0.0
        for partition, end in ends.items():
            position = max(0, positions.get(partition, 0))
            noted = self._ends[stage][partition]
            noted.note(now, end)
            records += max(0, end - position)
            seconds = max(seconds, noted.age_s(now, position))
        return Lag(records, seconds)

    async def drained(self) -> float:
        """Wait until nothing waits anywhere; seconds until then. Raises TimeoutError after five minutes."""
        began = time.monotonic()
        async with asyncio.timeout(WITHIN_S):
            while any(lag.records for lag in (await self.look()).values()):  # noqa: ASYNC110  others make it true
                await asyncio.sleep(LOOK_S)
        return time.monotonic() - began

    async def during(self, work: asyncio.Future[Any]) -> list[dict[str, Lag]]:
        """Look until the work is done; what was seen, in order."""
        seen = []
        while not work.done():
            seen.append(await self.look())
            await asyncio.wait([work], timeout=LOOK_S)
        return seen


@asynccontextmanager
async def watching(stack: EmbeddedStack) -> AsyncIterator[Lags]:
    """Connected to Kafka and Redis of the stack."""
    bootstrap = stack.urls.kafka_bootstrap
    async with (
        AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer,
        PipelinedClient(RedisSettings(redis_url=stack.urls.redis)) as client,
    ):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            yield Lags(admin, consumer, CartStore(client, Layout(PARTITIONS)))
        finally:
            await admin.close()


def longest(seen: Sequence[Mapping[str, Lag]]) -> Lag:
    """The most records and the most seconds that any stage was behind."""
    lags = list(chain.from_iterable(each.values() for each in seen))
    return Lag(max(lag.records for lag in lags), max(lag.seconds for lag in lags))


def keeps_up(seen: Sequence[Mapping[str, Lag]], rate: float) -> bool:
    """Whether no stage got further and further behind at this rate of adds, nor 5 s behind at any time.

    It gets further behind if the mean of the last third of the time is above that of the second by half a
    second, or by as many records as that brings.
    """
    third = len(seen) // 3
    middle, end = seen[-2 * third : -third], seen[-third:]
    for stage in STAGES:
        records = fmean(each[stage].records for each in end) - fmean(each[stage].records for each in middle)
        seconds = fmean(each[stage].seconds for each in end) - fmean(each[stage].seconds for each in middle)
        if max(seconds, records / rate) > GROWTH_S:
            return False
    return longest(seen).seconds < LONGEST_S
