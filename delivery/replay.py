"""Reads ranges of a changelog from end to end, with a plain consumer of its own.

Not Faust's recovery: that one shares the consumer, the flow control and the queues in which records get
lost around a resume, and a record missing from a table is worse than one delivered late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from runtime.settings import KafkaSettings

log = structlog.get_logger(__name__)

PROGRESS_EVERY_S = 5.0


class Bounds(NamedTuple):
    """First offset a partition still has, and the one its next record will get."""

    beginning: int
    end: int


class ChangelogReader:
    """A consumer without a group on some partitions of one topic; use as an async context manager."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            **settings.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=100,
        )

    async def __aenter__(self) -> ChangelogReader:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def bounds(self, partitions: set[int]) -> dict[int, Bounds]:
        """Beginning and end of every partition given."""
        tps = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
        beginnings = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp.partition: Bounds(beginnings[tp], ends[tp]) for tp in tps}

    async def read(
        self, ranges: Mapping[int, tuple[int, int]], absorb: Callable[[ConsumerRecord], None]
    ) -> int:
        """Call `absorb` with every record of the ranges `[start, end)`, by partition; returns how many."""
        left = {TopicPartition(self._topic, p): end for p, (start, end) in ranges.items() if start < end}
        if not left:
            return 0
        total = sum(end - start for start, end in ranges.values())
        self._consumer.assign(list(left))
        for tp in left:
            self._consumer.seek(tp, ranges[tp.partition][0])
        count, shown_at = 0, time.monotonic()
        while left:
            for tp, records in (await self._consumer.getmany(timeout_ms=500, max_records=2000)).items():
                for record in records:
                    if record.offset < left.get(tp, 0):
                        absorb(record)
                        count += 1
            # By position and not by the last record: the end of the range may be a hole.
            for tp in list(left):
                if await self._consumer.position(tp) >= left[tp]:
                    del left[tp]
                    self._consumer.pause(tp)
            if time.monotonic() - shown_at > PROGRESS_EVERY_S:
                shown_at = time.monotonic()
                log.info(
                    "changelog.reading", topic=self._topic, records=count, of=total, partitions=len(left)
                )
        return count
