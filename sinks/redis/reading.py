"""Reads a stretch of one Kafka partition to its end, outside any group, in fetches as large as they get."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from runtime.settings import KafkaSettings
from sinks import metrics
from sinks.errors import ReadStalled
from sinks.redis.copies import Found, recorded
from store.redis import Layout
from topics.errors import RecordError
from topics.groups import COMPACTION
from topics.records import PURGE_FLOOR_PREFIX

log = structlog.get_logger(__name__)

FETCH_BYTES: Final = 8 * 1024 * 1024
FETCH_WAIT_MS: Final = 100
BATCH: Final = 200
"""Records handed out at once: their work holds up the other partitions here, and requests in Redis."""
STALLED_SECONDS: Final = 30.0

Record: TypeAlias = ConsumerRecord


def cart_id_of(record: Record) -> str:
    """The cart a record is about, by its key."""
    key: bytes = record.key
    return key.decode(errors="replace")


def understand(record: Record, layout: Layout) -> tuple[str, Found] | None:
    """The cart a `carts` record is about and what it says of it; None if it says nothing of a cart.

    One that nobody can read, or in the wrong partition, is counted and left out: the Postgres sink reads it
    too and sends it to the dead letters.
    """
    if record.key.startswith(PURGE_FLOOR_PREFIX):
        return None
    cart_id = cart_id_of(record)
    problem = "wrong partition"
    if layout.partition(cart_id) == record.partition:
        try:
            found = recorded(record.value, record.headers)
        except RecordError as error:
            problem = str(error)
        else:
            return None if found is None else (cart_id, found)
    metrics.UNREADABLE.labels(record.topic).inc()
    log.warning("carts.unreadable", partition=record.partition, offset=record.offset, error=problem)
    return None


class StretchReader:
    """An aiokafka consumer for the partitions it is asked about, one after the other."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = AIOKafkaConsumer(
            **kafka.client_options(),
            # Only to ask how far compaction is: a consumer that is assigned its partitions joins no group.
            group_id=COMPACTION,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )

    async def start(self) -> None:
        """Connect. Raises aiokafka's KafkaError."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def compacted_up_to(self, partition: TopicPartition) -> int | None:
        """The offset compaction has committed: every change below it is in `carts`. None: it never has."""
        self._consumer.assign([partition])
        committed: int | None = await self._consumer.committed(partition)
        return committed

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The first offset the log still has, and the one the next record will get."""
        first = await self._consumer.beginning_offsets([partition])
        end = await self._consumer.end_offsets([partition])
        return first[partition], end[partition]

    async def read(self, partition: TopicPartition, start: int, end: int) -> AsyncIterator[list[Record]]:
        """The records from offset `start` to before `end`, in order, in lists of up to 200.

        Offsets that compaction or retention has emptied are passed over. Raises ReadStalled if the broker
        does not answer, aiokafka's KafkaError if it refuses.
        """
        if start >= end:
            return
        self._consumer.assign([partition])
        self._consumer.seek(partition, start)
        tail = Tail(self._consumer, partition)
        while (position := await self._consumer.position(partition)) < end:
            found = await self._consumer.getmany(partition, timeout_ms=2 * FETCH_WAIT_MS, max_records=BATCH)
            records = found.get(partition, [])
            if records:
                tail.moved()
                yield [record for record in records if record.offset < end]
            elif tail.nothing_is_left(end):
                return
            elif tail.stalled():
                raise ReadStalled(partition.topic, partition.partition, position, end)


class Readers:
    """Readers to borrow: connecting takes longer than reading a small partition."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._idle: list[StretchReader] = []
        self._lent = 0

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[StretchReader]:
        """A connected reader. The last one back disconnects all, for they hold buffers; a failed one goes."""
        self._lent += 1
        reader = self._idle.pop() if self._idle else None
        try:
            if reader is None:
                reader = StretchReader(self._kafka)
                await reader.start()
            yield reader
        except BaseException:
            if reader is not None:
                await reader.stop()
            raise
        else:
            self._idle.append(reader)
        finally:
            self._lent -= 1
            while self._idle and not self._lent:
                await self._idle.pop().stop()


class Tail:
    """Tells a log whose tail compaction has emptied from a broker that does not answer."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._partition = partition
        self.moved()

    def moved(self) -> None:
        """Records were handed out."""
        self._empty_answers = 0
        self._answered = self._last_answer()
        self._since = asyncio.get_running_loop().time()

    def nothing_is_left(self, end: int) -> bool:
        """Whether the broker has answered, twice, that there is nothing from here to beyond `end`.

        Twice, because the records of an answer that came just now may still be on their way to `getmany`.
        """
        if (answered := self._last_answer()) != self._answered:
            self._answered = answered
            self._empty_answers += 1
        return self._empty_answers > 1 and (self._consumer.highwater(self._partition) or 0) >= end

    def stalled(self) -> bool:
        """Whether the broker has been silent for too long."""
        return asyncio.get_running_loop().time() - self._since > STALLED_SECONDS

    def _last_answer(self) -> int | None:
        answered: int | None = self._consumer.last_poll_timestamp(self._partition)
        return answered
