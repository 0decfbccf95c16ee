"""Fixtures of the mail agent: an SMTP server, a database, the topics, and the agent's process."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devstack.settings import POSTGRES
from runtime.settings import KafkaSettings
from tests.conftest import Servers
from tests.databases import migrated_database
from tests.mail.kill_loop import agent_for
from tests.mail.smtp_server import SmtpServer, running_smtp_server
from tests.sinks.running import SinkProcess
from topics.apply import apply
from topics.registry import DEAD_LETTERS, PARTITIONS


@pytest.fixture
async def smtp() -> AsyncIterator[SmtpServer]:
    """A mail server that takes everything until it is told otherwise."""
    async with running_smtp_server() as smtp:
        yield smtp


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """A broker with the product's topics. They keep what other tests wrote: use orders of your own."""
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    await apply(settings, partitions=PARTITIONS, allow_single=True)
    return settings


@pytest.fixture
async def producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Writes into the topics."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield producer


@pytest.fixture
async def letters(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Reads the dead letters from now on."""
    async with AIOKafkaConsumer(**kafka.client_options()) as consumer:
        places = [TopicPartition(DEAD_LETTERS.name, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        yield consumer


@pytest.fixture
def database(servers: Servers) -> Iterator[str]:
    """A database of the test's own with this version's schema. Postgres may be killed meanwhile."""
    with migrated_database(servers.url(POSTGRES), "mail") as url:
        yield url


@pytest.fixture
async def agent(
    kafka: KafkaSettings, database: str, smtp: SmtpServer, tmp_path: Path
) -> AsyncIterator[SinkProcess]:
    """The agent's process, not started yet, impatient for the tests' sake; killed at the end."""
    process = agent_for(kafka.kafka_bootstrap, database, smtp, tmp_path)
    yield process
    process.kill()
