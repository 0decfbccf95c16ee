"""Fixtures of the sinks: topics as the product makes them, and somebody who writes into them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from devstack.settings import POSTGRES
from runtime.settings import KafkaSettings
from sinks.redis.agent import RestoreAgent
from store.redis import PipelinedClient
from tests.conftest import Servers
from tests.databases import migrated_database
from tests.sinks.making import Topics
from tests.sinks.redis_side import Redis, Shop, running_agent, settings_for
from tests.sinks.running import SinkProcess
from topics.apply import apply
from topics.registry import PARTITIONS


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """A broker with the product's topics. They keep what other tests wrote: use carts of your own."""
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    await apply(settings, partitions=PARTITIONS, allow_single=True)
    return settings


@pytest.fixture
async def topics(kafka: KafkaSettings) -> AsyncIterator[Topics]:
    """Writes records into the topics."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield Topics(producer)


@pytest.fixture
def database(servers: Servers) -> Iterator[str]:
    """A database of the test's own with this version's schema. Postgres may be killed meanwhile."""
    with migrated_database(servers.url(POSTGRES), "sinks") as url:
        yield url


@pytest.fixture
async def sink(kafka: KafkaSettings, database: str, tmp_path: Path) -> AsyncIterator[SinkProcess]:
    """The process of the Postgres sink, not started yet; killed at the end."""
    process = SinkProcess(
        "postgres",
        {"CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap, "CARTSTREAM_POSTGRES_URL": database},
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
def shop(redis: Redis, topics: Topics) -> Shop:
    """Somebody who writes."""
    return Shop(redis, topics)
