"""The dead letters that wait for somebody; the topic is read again only when something was written to it."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiokafka import TopicPartition

from ops.dead_letter_topic import DeadLetterFilter, Listed
from ops.dead_letters import find
from ops.overview.document import Letters
from ops.progress import silent
from ops.settings import OpsSettings
from runtime.kafka.ranges import OffsetRange, RangeReader
from topics.registry import DEAD_LETTERS

_ALL: Final = DeadLetterFilter()


class DeadLetterWatch:
    """Looks again and again. Use it from one task at a time."""

    def __init__(self, settings: OpsSettings) -> None:
        self._settings: Final = settings
        self._bounds: dict[TopicPartition, OffsetRange] = {}
        self._open: list[Listed] = []

    async def open(self) -> list[Listed]:
        """Those that are neither replayed nor dropped, without values, newest first.

        Raises KafkaError, ReadStalled.
        """
        async with RangeReader(self._settings) as reader:
            bounds = await reader.bounds_of(
                TopicPartition(DEAD_LETTERS.name, partition)
                for partition in range(self._settings.partitions_of(DEAD_LETTERS.name))
            )
        if bounds != self._bounds:
            found = [each for each in await find(self._settings, _ALL, silent) if each.mark is None]
            self._open = sorted(found, key=lambda each: (each.letter.time, each.letter.id), reverse=True)
            self._bounds = bounds
        return self._open

    @property
    def position(self) -> int:
        """How far the topic was then, all partitions together."""
        return sum(bounds.end for bounds in self._bounds.values())


def letters(listed: Sequence[Listed], position: int) -> Letters:
    """How many there are of each code. Pure."""
    return Letters(len(listed), Counter(each.letter.code or "?" for each in listed), position)
