"""What moves through Faust: runs, records of one partition out of one answer of the broker, as one event.

Faust's way of an event from the consumer to an agent costs more than most bodies; a run pays it once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from faust.transport.consumer import ensure_TP
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from runtime.kafka.looks import is_backlog


class RunLimits(NamedTuple):
    """How long a run may get. A backlog makes runs as long as that, a quiet log makes them short."""

    records: int = 1000
    size: int = 1 << 20
    """Bytes of the values; a single larger record passes alone."""
    linger_s: float = 0.0
    """Time between two looks at the log, unless there is a backlog. It makes runs of what would come one by
    one, and spares the broker an answer for each."""

    def lingers_after(self, answers: Collection[Sequence[ConsumerRecord]], fetch_bytes: int) -> bool:
        """Whether to rest after a look that has found these, by partition: some records, and no backlog.

        `fetch_bytes` is the most that is fetched of a partition.
        """
        return (
            self.linger_s > 0
            and any(answers)
            and not is_backlog(answers, many=self.records, fetch_bytes=fetch_bytes)
        )


class Run(ConsumerMessage):
    """Records of one partition, ascending by offset, as Faust's message.

    `offset` is that of the first record, `end` is behind the last one. `records` are what is left to do: an
    agent gets them without those seen before and without those that do not belong there.
    """

    __slots__ = ("end", "records")

    def __init__(self, tp: TP, records: Sequence[ConsumerRecord], generation_id: int) -> None:
        first, last = records[0], records[-1]
        super().__init__(
            first.topic,
            first.partition,
            first.offset,
            last.timestamp / 1000.0,
            first.timestamp_type,
            headers=None,
            key=None,
            value=b"",
            checksum=None,
            tp=ensure_TP(tp),
            generation_id=generation_id,
        )
        self.records: Sequence[ConsumerRecord] = records
        self.end: int = last.offset + 1

    def cut(self, start: int, stop: int) -> None:
        """Keep the records from index `start` to before `stop`, at least one."""
        if (start, stop) != (0, len(self.records)):
            self.records = self.records[start:stop]
            self.offset, self.end = self.records[0].offset, self.records[-1].offset + 1


class RunScheduler:
    """Faust's scheduling strategy: goes round the partitions of an answer and takes a run of each in turn."""

    def __init__(self, limits: RunLimits) -> None:
        self._limits = limits

    def iterate(self, records: Mapping[Any, list[ConsumerRecord]]) -> Iterator[tuple[Any, Any]]:
        """`(partition, records of a run)`. The backlog of one partition keeps no other one waiting."""
        waiting = deque((tp, cut_into_runs(batch, self._limits)) for tp, batch in records.items())
        while waiting:
            tp, runs = waiting.popleft()
            if (run := next(runs, None)) is not None:
                yield tp, run
                waiting.append((tp, runs))


def cut_into_runs(records: Iterable[ConsumerRecord], limits: RunLimits) -> Iterator[list[ConsumerRecord]]:
    """The records in order, in lists of at most so many records and bytes, each of one record at least."""
    run: list[ConsumerRecord] = []
    size = 0
    for record in records:
        added = len(record.value or b"")
        if run and (len(run) >= limits.records or size + added > limits.size):
            yield run
            run, size = [], 0
        run.append(record)
        size += added
    if run:
        yield run
