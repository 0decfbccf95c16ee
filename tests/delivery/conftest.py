"""Topics of a test's own on the real broker, and apps that run inside the test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.structs import ConsumerRecord

from delivery.app import DeliveryApp
from delivery.consumer import consumer_of
from delivery.settings import DeliverySettings
from runtime.settings import KafkaSettings
from tests.delivery.kill_loop import administration
from tests.support.topics import records_of
from tests.support.waiting import PATIENCE_S
from topics.partitioner import partition_of

PARTITIONS = 2

Running = Callable[[DeliveryApp], AbstractAsyncContextManager[DeliveryApp]]


class Broker:
    """One test's view of Kafka: three topics and what is in them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        run = uuid.uuid4().hex[:8]
        self.source, self.changelog, self.dead_letters = f"source-{run}", f"states-{run}", f"dead-{run}"

    async def make_topics(self, partitions: int = PARTITIONS) -> None:
        """Create them."""
        compact = {"cleanup.policy": "compact"}
        async with administration(self.bootstrap) as admin:
            await admin.create_topics(
                [
                    NewTopic(self.source, partitions, 1),
                    NewTopic(self.changelog, partitions, 1, topic_configs=compact),
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
        partitions = range(1 if topic == self.dead_letters else PARTITIONS)
        return await records_of(KafkaSettings(kafka_bootstrap=self.bootstrap), topic, partitions)

    async def committed(self, group: str) -> int:
        """Sum of the group's committed offsets on the source."""
        async with administration(self.bootstrap) as admin:
            offsets = await admin.list_consumer_group_offsets(group)
        return sum(meta.offset for tp, meta in offsets.items() if tp.topic == self.source)


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
        for table in app.changelog_tables():
            table.open()
        starting = asyncio.create_task(app.start())
        await asyncio.wait_for(app.recovered(), PATIENCE_S)
        try:
            yield app
        finally:
            consumer = consumer_of(app)
            await consumer.ledger.settle(set(consumer.ledger.partitions))
            await consumer.commit()
            await app.stop()
            await starting
            for table in app.changelog_tables():
                table.close()

    return run
