"""Reads partitions of a topic from end to end, outside any group."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

from aiokafka import ConsumerRecord, TopicPartition

from runtime.settings import KafkaSettings
from sinks.redis.reading import StretchReader

Record: TypeAlias = ConsumerRecord

T = TypeVar("T")


@asynccontextmanager
async def reading(kafka: KafkaSettings) -> AsyncIterator[StretchReader]:
    """A connected reader, for one partition at a time. Raises aiokafka's KafkaError."""
    reader = StretchReader(kafka)
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()


async def one_record(reader: StretchReader, topic: str, partition: int, offset: int) -> Record | None:
    """The record at an offset; None if it is not there (any more)."""
    place = TopicPartition(topic, partition)
    first, end = await reader.bounds(place)
    if first <= offset < end:
        async for records in reader.read(place, offset, offset + 1):
            for record in records:
                return record if record.offset == offset else None
    return None


def pieces(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The sequence in pieces of `size`, the last one shorter."""
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
