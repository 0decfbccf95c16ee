"""Reads the purge floors: the highest version ever deleted in each partition of `carts`."""

from collections.abc import Iterable

import structlog
from aiokafka import TopicPartition

from runtime.kafka.ranges import RangeReader
from topics.codec import decode_purge_floor
from topics.errors import RecordError
from topics.registry import PURGE_FLOORS

log = structlog.get_logger(__name__)


async def read_purge_floors(reader: RangeReader, partitions: Iterable[int]) -> dict[int, int]:
    """The purge floor of each of the partitions; 0: nothing was deleted there yet.

    The highest of all records counts: one of a worker that was frozen may come after it. Whoever has read
    `carts` to its end before has the floor of every deletion that it found there.

    Raises ReadStalled and aiokafka's KafkaError.
    """
    floors = dict.fromkeys(partitions, 0)
    places = [TopicPartition(PURGE_FLOORS.name, partition) for partition in floors]
    async for records in reader.read(await reader.bounds_of(places)):
        for record in records:
            try:
                floor = decode_purge_floor(record.value).purge_floor
            except RecordError as error:
                log.warning(
                    "purge_floor.unreadable",
                    partition=record.partition,
                    offset=record.offset,
                    error=str(error),
                )
            else:
                floors[record.partition] = max(floors[record.partition], floor)
    return floors
