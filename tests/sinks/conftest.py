"""Fixtures of the sinks: topics as the product makes them, and somebody who writes into them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from sinks.postgres.table import CartsTable
from sinks.redis.agent import RestoreAgent
from sinks.redis.rows import Rows
from store.postgres.roles import Role
from store.postgres.session import Address
from store.redis import PipelinedClient
from tests.sinks.cart_records import TopicWriter
from tests.sinks.restore_fixtures import LAYOUT, CartWriter, Redis, running_agent, settings_for
from tests.sinks.row_fixtures import Table
from tests.support.processes import AgentProcess, sink_process
from tests.support.roles import as_role


@pytest.fixture
async def topics(kafka: KafkaSettings) -> AsyncIterator[TopicWriter]:
    """Writes records into the topics."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield TopicWriter(producer)


@pytest.fixture
async def sink(kafka: KafkaSettings, database: str, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The process of the Postgres sink, not started yet; killed at the end."""
    process = sink_process(
        "postgres",
        {
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "CARTSTREAM_POSTGRES_URL": as_role(Address(database), Role.SINK),
        },
        tmp_path,
    )
    yield process
    process.kill()


@pytest.fixture
async def redis(kafka: KafkaSettings, redis_url: str) -> AsyncIterator[Redis]:
    """An empty Redis."""
    settings = settings_for(kafka, redis_url)
    async with PipelinedClient(settings) as client:
        yield Redis(settings, client)


@pytest.fixture
async def agent(redis: Redis) -> AsyncIterator[RestoreAgent]:
    """A restore agent that has made the empty Redis ready."""
    async with running_agent(redis.settings) as agent:
        yield agent


@pytest.fixture
def writer(redis: Redis, topics: TopicWriter) -> CartWriter:
    """Somebody who writes."""
    return CartWriter(redis, topics)


@pytest.fixture
async def table(kafka: KafkaSettings, database: str) -> AsyncIterator[Table]:
    """The rows, none yet."""
    async with CartsTable(Address(database)) as table, RangeReader(kafka) as reader:
        yield Table(table, reader)


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Rows]:
    """What restorations read rows with."""
    found = Rows(Address(database), LAYOUT)
    yield found
    await found.close()
