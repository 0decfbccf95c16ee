"""What the demo shows of Kafka: one record by its place, or the newest of a key."""

import asyncio

from aiokafka import ConsumerRecord, TopicPartition

from runtime.kafka.ranges import OffsetRange, RangeReader
from runtime.settings import KafkaSettings


def record_at(bootstrap: str, topic: str, partition: int, offset: int) -> ConsumerRecord:
    """The record at exactly this place. Raises ReadStalled when the broker does not answer."""

    async def read() -> ConsumerRecord:
        place = TopicPartition(topic, partition)
        async with RangeReader(KafkaSettings(kafka_bootstrap=bootstrap)) as reader:
            (record,) = [
                record
                async for records in reader.read({place: OffsetRange(offset, offset + 1)})
                for record in records
            ]
            return record

    return asyncio.run(read())


def newest_record(bootstrap: str, topic: str, partition: int, key: bytes) -> ConsumerRecord | None:
    """The newest record of `key` in a partition; None if there is none yet."""

    async def read() -> ConsumerRecord | None:
        place = TopicPartition(topic, partition)
        newest = None
        async with RangeReader(KafkaSettings(kafka_bootstrap=bootstrap)) as reader:
            async for records in reader.read({place: await reader.bounds(place)}):
                for record in records:
                    newest = record if record.key == key else newest
        return newest

    return asyncio.run(read())
