"""Looks at a log at intervals: each finds all that has come since the one before.

By itself aiokafka asks the brokers for more as soon as something was taken, and keeps their answer until that
is taken: a look finds what there was at the one before, or the first record after it, and nothing else.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

ANSWERS_S: Final = 0.01
"""In that time every broker that has records answers, so that one look takes the records of all brokers."""


async def begin_look(consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
    """Ask the brokers for records of those that `end_look` has let rest; before taking them."""
    if resting := consumer.paused().intersection(partitions):
        consumer.resume(*resting)
        await asyncio.sleep(ANSWERS_S)


def end_look(consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> None:
    """Ask for no more of these until the next look, in the same step in which all that had come was taken."""
    consumer.pause(*consumer.assignment().intersection(partitions))


def is_backlog(answers: Iterable[Sequence[ConsumerRecord]], *, many: int, fetch_bytes: int) -> bool:
    """Whether a look has probably left records in the log; `answers` are what it has found, by partition.

    It has found `many` records, or of a partition half of `fetch_bytes`, the most that is fetched of one: the
    next record may not have fitted, and headers and framing are not counted.
    """
    found = list(answers)
    return sum(map(len, found)) >= many or any(2 * sum(map(_bytes, each)) >= fetch_bytes for each in found)


def _bytes(record: ConsumerRecord) -> int:
    return len(record.key or b"") + len(record.value or b"")
