"""Decides for one partition whether a record is next, was seen before, or came too early.

Faust 0.15 can lose a run of records between the consumer and the agent around a resume, and delivers others
twice. So nothing is believed but the offsets: a record is processed only if nothing between it and its
predecessor is missing, or if the broker itself has shown that nothing is there (compaction, retention,
transaction markers). That holds inside a run as between two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple


class Admission(Enum):
    """What to do with a record."""

    PROCESS = auto()
    SKIP = auto()
    """It was processed already, or is the rest of a fetch that a seek has made stale."""
    SEEK = auto()
    """Records before it are missing: seek back to `expected`, do not process it."""


class RunAdmission(NamedTuple):
    """What to do with a run: the records from index `start` to before `stop` if `admission` is PROCESS."""

    admission: Admission
    start: int = 0
    stop: int = 0


class OutsideLog(StrEnum):
    """Why a committed offset is no place to begin at."""

    REMOVED = "removed"
    """Retention has removed records from it on, and nobody has read them."""
    BEYOND_END = "beyond_end"
    """The log ends before it: the end of the log was lost, or the topic was made anew."""


def starting_point(committed: int | None, first: int, end: int) -> tuple[int, OutsideLog | None]:
    """Where to begin in a log of the offsets from `first` to before `end`, what is wrong with `committed`.

    None is a group that has never committed. Beyond the end new records would get offsets that count as
    processed: all that there is is processed again, which changes nothing.
    """
    if committed is None:
        return first, None
    if committed > end:
        return first, OutsideLog.BEYOND_END
    if committed < first:
        return first, OutsideLog.REMOVED
    return committed, None


def holes(offsets: Sequence[int], sought: int | None) -> Iterator[tuple[int, int]]:
    """The ranges `[start, end)` that one fetch answer shows to be absent from the log.

    `offsets` are those of the answer's records, ascending. Inside one answer the broker leaves out only
    what does not exist; `sought` is the offset the consumer was told to seek to if this is the first
    answer since, else None.
    """
    if not offsets:
        return
    if sought is not None and offsets[0] > sought:
        yield sought, offsets[0]
    if offsets[-1] - offsets[0] != len(offsets) - 1:
        for before, after in pairwise(offsets):
            if after - before > 1:
                yield before + 1, after


@dataclass
class Contiguity:
    """Position of one partition between fetch and processing. No I/O.

    `expected` is the lowest offset not handed out for processing yet.
    """

    expected: int
    _seeking: bool = False
    _holes: dict[int, int] = field(default_factory=dict)  # end of a hole (a record's offset) -> its start
    _ends: list[int] = field(default_factory=list)  # the ends, as a heap: those passed are the first to go

    def judge(self, offset: int) -> Admission:
        """Decide about the record at `offset`; PROCESS moves `expected` past it."""
        if offset == self.expected or self._absent_before(offset):
            self._pass(offset)
            return Admission.PROCESS
        if offset < self.expected or self._seeking:
            return Admission.SKIP
        return Admission.SEEK

    def judge_run(self, offsets: Sequence[int]) -> RunAdmission:
        """Decide about records with these ascending offsets; PROCESS moves `expected` past what it names.

        A head that was seen before is cut off, and so is what stands behind a hole that the broker has not
        shown: as the start of a later run it asks for what is missing.
        """
        start = bisect_left(offsets, self.expected)
        if start == len(offsets):
            return RunAdmission(Admission.SKIP)
        admission = self.judge(offsets[start])
        if admission is not Admission.PROCESS:
            return RunAdmission(admission)
        stop = start + 1
        if offsets[-1] - offsets[start] == len(offsets) - 1 - start:
            self._pass(offsets[-1])
            return RunAdmission(admission, start, len(offsets))
        while stop < len(offsets) and self.judge(offsets[stop]) is Admission.PROCESS:
            stop += 1
        return RunAdmission(admission, start, stop)

    def absent(self, start: int, end: int) -> None:
        """The broker has shown that the log has nothing in `[start, end)`."""
        if end > self.expected:
            if end not in self._holes:
                heappush(self._ends, end)
            self._holes[end] = start

    def sought(self) -> None:
        """The consumer was told to fetch from `expected`: what arrives before the answer is stale."""
        self._seeking = True

    def answered(self) -> None:
        """A fetch answer has arrived: what follows may be next."""
        self._seeking = False

    def rewind(self, offset: int) -> None:
        """Hand out again from `offset` on: the agent that had the records has failed."""
        self.expected = offset
        self._seeking = False

    def _pass(self, offset: int) -> None:
        self.expected = offset + 1
        while self._ends and self._ends[0] <= offset:
            del self._holes[heappop(self._ends)]

    def _absent_before(self, offset: int) -> bool:
        start = self._holes.get(offset)
        return start is not None and start <= self.expected < offset
