"""Purge floors read from their topic."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import structs

import topics.purge_floors
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from topics.apply import apply
from topics.codec import encode_purge_floor
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor, purge_floor_key
from topics.registry import PURGE_FLOORS


@pytest.fixture
async def kafka(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaSettings]:
    """A broker with the topic under a name of the test's own, three partitions."""
    # Of this test alone: one that was just deleted may seem to be there still.
    spec = structs.replace(PURGE_FLOORS, name=f"purge-floors-{uuid4().hex[:8]}")
    monkeypatch.setattr(topics.purge_floors, "PURGE_FLOORS", spec)
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    await apply(settings, partitions=3, allow_single=True, specs=[spec])
    yield settings
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.delete_topics([spec.name])
    await admin.close()


async def write(kafka: KafkaSettings, partition: int, *values: bytes) -> None:
    name = vars(topics.purge_floors)["PURGE_FLOORS"].name
    async with AIOKafkaProducer(**kafka.client_options()) as producer:
        for value in values:
            await producer.send_and_wait(name, value, purge_floor_key(partition), partition)


async def test_the_highest_floor_of_each_partition_counts_whichever_came_last(kafka: KafkaSettings) -> None:
    low, high = (encode_purge_floor(PurgeFloor(floor)) for floor in (4, 8))
    await write(kafka, 0, low, high, low)
    await write(kafka, 2, low)
    async with RangeReader(kafka) as reader:
        assert await read_purge_floors(reader, range(3)) == {0: 8, 1: 0, 2: 4}
        assert await read_purge_floors(reader, [1]) == {1: 0}


async def test_a_record_that_nobody_can_read_does_not_hide_the_others(kafka: KafkaSettings) -> None:
    await write(kafka, 1, encode_purge_floor(PurgeFloor(8)), b"not JSON")
    async with RangeReader(kafka) as reader:
        assert await read_purge_floors(reader, [1]) == {1: 8}
