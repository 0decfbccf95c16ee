"""The dead letters that wait for somebody. Of the topic only what is new is read, and so much at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import TopicPartition

from ops.dead_letter_topic import DeadLetter, DeadLetterId, Listed, Mark
from ops.dead_letters import understood
from ops.overview.document import Letters
from ops.settings import OpsSettings
from runtime.kafka.ranges import OffsetRange, RangeReader
from topics.registry import DEAD_LETTERS

KEPT: Final = 10_000
"""Open dead letters that are remembered at most, the newest ones."""
READ: Final = 50_000
"""Offsets read in one look at most."""


class OpenLetters:
    """The dead letters that are neither replayed nor dropped, by the topic's records in their order. Pure."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: Final = kept
        self._open: dict[DeadLetterId, DeadLetter] = {}
        self.is_cut = False
        """Whether older ones were forgotten, because there were too many."""

    def take(self, record: DeadLetter | Mark | None) -> None:
        """Take note of the next record of a partition; neither its value nor its headers are remembered."""
        match record:
            case DeadLetter():
                self._open[record.id] = msgspec.structs.replace(record, value=None, headers=[])
            case Mark():
                self._open.pop(record.letter, None)
        if len(self._open) > self._kept + self._kept // 10:
            self._open = {each.id: each for each in self._newest()[: self._kept]}
            self.is_cut = True

    def forget_before(self, partition: int, offset: int) -> None:
        """Retention has taken what stood there."""
        gone = [at for at in self._open if at.partition == partition and at.offset < offset]
        for at in gone:
            del self._open[at]

    @property
    def misses_some(self) -> bool:
        """Whether so many were handled since older ones were forgotten that those have room again."""
        return self.is_cut and len(self._open) <= self._kept // 2

    def listed(self) -> list[Listed]:
        """Those that are remembered, newest first."""
        return [Listed(each, None) for each in self._newest()]

    def _newest(self) -> list[DeadLetter]:
        return sorted(self._open.values(), key=lambda each: (each.time, each.id), reverse=True)


def unread(
    bounds: Mapping[TopicPartition, OffsetRange], read: Mapping[TopicPartition, int], most: int
) -> dict[TopicPartition, OffsetRange]:
    """What to read next: from where each partition was read to, `most` offsets in all. Pure."""
    ranges = {}
    for place, (first, end) in bounds.items():
        begin = max(first, read.get(place, first))
        ranges[place] = OffsetRange(begin, min(end, begin + most))
        most -= ranges[place].size
    return ranges


class DeadLetterWatch:
    """Looks again and again, one look at a time. A look that is cancelled is gone on with by the next."""

    def __init__(self, settings: OpsSettings) -> None:
        self._settings: Final = settings
        self._lock: Final = asyncio.Lock()
        self._open = OpenLetters()
        self._topic_id = ""
        self._read: dict[TopicPartition, int] = {}
        self._bounds: dict[TopicPartition, OffsetRange] = {}

    async def open(self) -> list[Listed]:
        """Those that are neither replayed nor dropped, without values, newest first.

        Raises KafkaError, ReadStalled.
        """
        async with self._lock, RangeReader(self._settings) as reader:
            topic_id = await reader.topic_id(DEAD_LETTERS.name)
            bounds = await reader.bounds_of(
                TopicPartition(DEAD_LETTERS.name, partition)
                for partition in range(self._settings.partitions_of(DEAD_LETTERS.name))
            )
            is_shorter = any(self._read.get(place, 0) > bound.end for place, bound in bounds.items())
            if topic_id != self._topic_id or is_shorter or self._open.misses_some:
                self._open, self._read, self._topic_id = OpenLetters(), {}, topic_id
            for place, bound in bounds.items():
                self._open.forget_before(place.partition, bound.start)
            self._bounds = bounds
            ranges = unread(bounds, self._read, READ)
            async for records in reader.read(ranges):
                for record in records:
                    self._open.take(understood(record))
                last = records[-1]
                self._read[TopicPartition(last.topic, last.partition)] = last.offset + 1
            # What compaction or retention has emptied is read, too.
            self._read |= {place: wanted.end for place, wanted in ranges.items()}
            return self._open.listed()

    @property
    def position(self) -> int:
        """Rises with all that is read of the topic."""
        return sum(self._read.values())

    @property
    def has_more(self) -> bool:
        """Whether there may be others than those listed: not read yet, or too many to be remembered."""
        left = any(self._read.get(place, first) < end for place, (first, end) in self._bounds.items())
        return left or self._open.is_cut


def letters(listed: Iterable[Listed], watch: DeadLetterWatch) -> Letters:
    """How many there are of each code."""
    codes = Counter(each.letter.code or "?" for each in listed)
    return Letters(codes.total(), codes, watch.position, more=watch.has_more)
