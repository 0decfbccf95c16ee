"""Reads ranges of offsets to their end, outside any consumer group, in fetches as large as they get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from runtime.kafka.clients import has_died
from runtime.kafka.internals import client_of
from runtime.kafka.topic_ids import topic_ids
from runtime.kafka.topic_settings import topic_setting
from runtime.settings import KafkaSettings

FETCH_BYTES: Final = 8 * 1024 * 1024
FETCH_WAIT_MS: Final = 100
BATCH: Final = 200
"""Records handed out at once by default: while the caller works on them nothing else runs in its loop."""
STALLED_SECONDS: Final = 30.0
EMPTY_ANSWERS: Final = 3

Record: TypeAlias = ConsumerRecord


class ReadStalled(TimeoutError):
    """A range could not be read to its end: the broker does not answer."""

    def __init__(self, positions: Mapping[TopicPartition, tuple[int, int]]) -> None:
        where = ", ".join(
            f"{partition.topic}/{partition.partition} is at {position}, not {end}"
            for partition, (position, end) in positions.items()
        )
        super().__init__(f"{where}: the broker does not answer")


class OffsetRange(NamedTuple):
    """The offsets of a partition from `start` to before `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many offsets that are; never negative."""
        return max(0, self.end - self.start)


class RangeReader:
    """An aiokafka consumer for the partitions it is asked about; use as an async context manager.

    One reading at a time: a second one takes its partitions away from the first.
    """

    def __init__(
        self, kafka: KafkaSettings, *, group: str | None = None, fetch_bytes: int = FETCH_BYTES
    ) -> None:
        """`group` is only asked for its commits, never joined. `fetch_bytes` bounds a partition's fetch."""
        self._consumer = AIOKafkaConsumer(
            **kafka.client_options(),
            # A consumer that is assigned its partitions by hand joins no group.
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=fetch_bytes,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )

    async def start(self) -> None:
        """Connect. Raises aiokafka's KafkaError."""
        await self._consumer.start()
        # A task of aiokafka's needs a turn: if a stop cancelled it before, we would look cancelled.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Disconnect."""
        try:
            await self._consumer.stop()
        except asyncio.CancelledError:
            # So does a fetch that had no turn yet, and on a busy machine there is one.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await client_of(self._consumer).close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def has_died(self) -> bool:
        """Whether the client has ended silently: nothing would ever be answered."""
        return has_died(client_of(self._consumer))

    async def committed(self, partition: TopicPartition) -> int | None:
        """The offset that the reader's group has committed; None: it never has, or the log has lost its end.

        What comes after such an end has not been processed, and the group begins anew, too.
        """
        self._consumer.assign([partition])
        # A consumer fetches what it is assigned: one that is kept for later would do so for good.
        self._consumer.pause(partition)
        committed: int | None = await self._consumer.committed(partition)
        if committed is None:
            return None
        end = (await self._consumer.end_offsets([partition]))[partition]
        return committed if committed <= end else None

    async def topic_id(self, topic: str) -> str:
        """The id of the topic, which one of the same name made later does not have; empty if it has none."""
        ids = await topic_ids(client_of(self._consumer), [topic])
        return ids[topic].hex if topic in ids else ""

    async def setting(self, topic: str, name: str) -> str | None:
        """A setting of the topic; None if it has no such one, or does not let this client see it."""
        return await topic_setting(client_of(self._consumer), topic, name)

    async def bounds(self, partition: TopicPartition) -> OffsetRange:
        """What the log has: from the first offset that is left to the one the next record will get."""
        return (await self.bounds_of([partition]))[partition]

    async def bounds_of(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, OffsetRange]:
        """The bounds of several partitions."""
        asked = list(partitions)
        starts = await self._consumer.beginning_offsets(asked)
        ends = await self._consumer.end_offsets(asked)
        return {partition: OffsetRange(starts[partition], ends[partition]) for partition in asked}

    async def times_at(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The timestamps, in milliseconds, of the records at these offsets, of those that are still there.

        A log that has lost its end, and has grown again, has others there. Raises as `read`.
        """
        found: dict[TopicPartition, int] = {}
        ranges = {place: OffsetRange(offset, offset + 1) for place, offset in offsets.items()}
        async for records in self.read(ranges):
            place = TopicPartition(records[0].topic, records[0].partition)
            found[place] = records[0].timestamp
        return found

    async def read(
        self, ranges: Mapping[TopicPartition, OffsetRange], *, batch: int = BATCH
    ) -> AsyncIterator[list[Record]]:
        """The records of the ranges, in lists of 1 to `batch`, each of one partition and in its order.

        Offsets that compaction or retention has emptied are skipped. Raises ReadStalled if the broker does
        not answer, aiokafka's KafkaError if it refuses.
        """
        left = {partition: wanted.end for partition, wanted in ranges.items() if wanted.size}
        if not left:
            return
        self._consumer.assign(list(left))
        for partition in left:
            self._consumer.seek(partition, ranges[partition].start)
        tails = {partition: Tail(self._consumer, partition) for partition in left}
        moved_at = time.monotonic()
        while left:
            found = await self._consumer.getmany(*left, timeout_ms=2 * FETCH_WAIT_MS, max_records=batch)
            for partition, records in found.items():
                if wanted := [record for record in records if record.offset < left[partition]]:
                    yield wanted
            ended = await self._at_end(left, {} if found else tails)
            for partition in ended:
                del left[partition]
                self._consumer.pause(partition)
            if found or ended:
                moved_at = time.monotonic()
                all_moved(tails.values())
            if left and time.monotonic() - moved_at > STALLED_SECONDS:
                raise ReadStalled({tp: (await self._consumer.position(tp), end) for tp, end in left.items()})

    async def _at_end(
        self, left: Mapping[TopicPartition, int], quiet: Mapping[TopicPartition, Tail]
    ) -> list[TopicPartition]:
        """The partitions read to their end: by position, not by the last record, which may be gone."""
        return [
            partition
            for partition, end in left.items()
            if await self._consumer.position(partition) >= end
            or (partition in quiet and quiet[partition].nothing_is_left(end))
        ]


class ReaderPool:
    """Readers to borrow: connecting takes longer than reading a small partition."""

    def __init__(self, kafka: KafkaSettings, *, group: str | None = None, keep: int = 0) -> None:
        """`keep` readers stay connected though nobody reads; `close` the pool then."""
        self._kafka = kafka
        self._group = group
        self._keep = keep
        self._idle: list[RangeReader] = []
        self._lent = 0

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[RangeReader]:
        """A connected reader. The last one back disconnects the others, for they hold buffers."""
        self._lent += 1
        reader: RangeReader | None = None
        try:
            while self._idle and (reader is None or reader.has_died):
                reader = self._idle.pop()
                if reader.has_died:
                    await reader.stop()
            if reader is None or reader.has_died:
                reader = RangeReader(self._kafka, group=self._group)
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
            while len(self._idle) > self._keep and not self._lent:
                await self._idle.pop().stop()

    async def close(self) -> None:
        """Disconnect the readers that nobody has borrowed."""
        while self._idle:
            await self._idle.pop().stop()


class Tail:
    """Tells a log whose last offsets compaction has emptied from a broker that does not answer.

    An answer without records of a partition says nothing as long as other partitions have records: it has a
    largest size, and leaves out what does not fit. So ask `nothing_is_left` only if no partition had any, and
    call `all_moved` when one had.
    """

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._partition = partition
        self.moved()

    def moved(self) -> None:
        """Records were handed out, of any partition, or one is no longer read."""
        self._empty_answers = 0
        self._answered = self._last_answer()

    def nothing_is_left(self, end: int) -> bool:
        """Whether the broker has answered, several times, that there is nothing from here to beyond `end`.

        One answer may be of the time when there was a further partition to read, and the records of the
        newest one may still be on their way to `getmany`.
        """
        if (answered := self._last_answer()) != self._answered:
            self._answered = answered
            self._empty_answers += 1
        return (
            self._empty_answers >= EMPTY_ANSWERS and (self._consumer.highwater(self._partition) or 0) >= end
        )

    def _last_answer(self) -> int | None:
        answered: int | None = self._consumer.last_poll_timestamp(self._partition)
        return answered


def all_moved(tails: Iterable[Tail]) -> None:
    """Records were handed out, or a partition is no longer read: what the tails have counted says nothing."""
    for tail in tails:
        tail.moved()
