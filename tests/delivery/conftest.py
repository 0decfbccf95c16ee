"""Topics of a test's own on the real broker, and apps that run inside the test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.structs import ConsumerRecord

from delivery.app import DeliveryApp
from delivery.consumer import consumer_of
from delivery.settings import DeliverySettings
from tests.delivery.kill_loop import administration
from topics.partitioner import partition_of

PARTITIONS = 2
PATIENCE_S = 60.0

Running = Callable[[DeliveryApp], AbstractAsyncContextManager[DeliveryApp]]


class Broker:
    """One test's view of Kafka: three topics and what is in them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        run = uuid.uuid4().hex[:8]
        self.source, self.changelog, self.dead_letters = f"source-{run}", f"states-{run}", f"dead-{run}"

    async def make_topics(self) -> None:
        """Create them."""
        compact = {"cleanup.policy": "compact"}
        async with administration(self.bootstrap) as admin:
            await admin.create_topics(
                [
                    NewTopic(self.source, PARTITIONS, 1),
                    NewTopic(self.changelog, PARTITIONS, 1, topic_configs=compact),
                    NewTopic(self.dead_letters, 1, 1),
                ]
            )

    async def send(
        self,
        topic: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Produce `(key, value)` pairs, each to its right partition unless one is given."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all") as producer:
            for key, value in records:
                where = partition_of(key or b"", PARTITIONS) if partition is None else partition
                await producer.send_and_wait(topic, value, key=key, partition=where, headers=list(headers))

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """Every record of the topic, by partition."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            partitions = await _partitions_of(consumer, topic)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            while not all([await consumer.position(tp) >= ends[tp] for tp in partitions]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
            return sorted(records, key=lambda record: (record.partition, record.offset))

    async def committed(self, group: str) -> int:
        """Sum of the group's committed offsets on the source."""
        async with administration(self.bootstrap) as admin:
            offsets = await admin.list_consumer_group_offsets(group)
        return sum(meta.offset for tp, meta in offsets.items() if tp.topic == self.source)


async def _partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    consumer.subscribe([topic])
    numbers: set[int] | None = None
    while not numbers:
        await consumer.topics()
        numbers = consumer.partitions_for_topic(topic)
    consumer.unsubscribe()
    return [TopicPartition(topic, number) for number in sorted(numbers)]


@pytest.fixture
async def broker(kafka_bootstrap: str) -> Broker:
    """Fresh topics: `source` and `changelog` with two partitions, `dead_letters` with one."""
    made = Broker(kafka_bootstrap)
    await made.make_topics()
    return made


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> DeliverySettings:
    """Settings of an app that commits often and leaves nothing behind."""
    return DeliverySettings(
        kafka_bootstrap=broker.bootstrap,
        datadir=tmp_path / "data",
        dead_letter_topic=broker.dead_letters,
        commit_interval_s=0.1,
    )


@pytest.fixture
def running() -> Running:
    """Enter it with an app: started, recovered, and stopped afterwards as a worker would."""

    @asynccontextmanager
    async def run(app: DeliveryApp) -> AsyncIterator[DeliveryApp]:
        app.settings.datadir.mkdir(parents=True, exist_ok=True)
        starting = asyncio.create_task(app.start())
        await asyncio.wait_for(app.recovered(), PATIENCE_S)
        try:
            yield app
        finally:
            consumer = consumer_of(app)
            await consumer.ledger.settle(set(consumer.ledger.partitions))
            await consumer.commit()
            for table in app.changelog_tables():
                table.close_cleanly()
            await app.stop()
            await starting

    return run


async def eventually(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait until the condition holds. Raises TimeoutError after a minute."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held: Any = condition()
            if await held if asyncio.iscoroutine(held) else held:
                return
            await asyncio.sleep(0.05)
