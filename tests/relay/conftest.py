"""Fixtures of the relay: a database with an outbox, the topics, a reader; nothing relays yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from uuid import uuid4

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer
from psycopg import sql
from pydantic import SecretStr

from cli.stack.settings import POSTGRES
from sinks.postgres.migrate import migrate
from streams.upkeep.leadership import attend
from streams.upkeep.relay import Relay
from streams.upkeep.settings import UpkeepSettings
from tests.conftest import Servers
from tests.relay.outbox_side import Reader
from topics.apply import apply
from topics.registry import PARTITIONS
from topics.settings import KafkaSettings

Relaying = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    """A broker with the product's topics."""
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    await apply(settings, partitions=PARTITIONS, allow_single=True)
    return settings


@pytest.fixture
def database(servers: Servers) -> Iterator[str]:
    """A database of the test's own with this version's schema. Postgres may be killed meanwhile."""
    server = servers.url(POSTGRES)
    name = f"relay_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{server.rsplit('/', 1)[0]}/{name}"
    migrate(url)
    yield url
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def reader(kafka: KafkaSettings) -> AsyncIterator[Reader]:
    """Reads what is relayed from now on."""
    async with AIOKafkaConsumer(**kafka.client_options()) as consumer:
        reader = Reader(consumer)
        await reader.seek_to_now()
        yield reader


@pytest.fixture
def relaying(kafka: KafkaSettings, database: str) -> Relaying:
    """A process that attends to the relay while the context lasts."""

    @asynccontextmanager
    async def relay(sweep_s: float = 1.0, clock: Callable[[], float] = time.time) -> AsyncIterator[None]:
        settings = UpkeepSettings(
            kafka_bootstrap=kafka.kafka_bootstrap, postgres_url=SecretStr(database), relay_sweep_s=sweep_s
        )
        leads = asyncio.Event()
        task = asyncio.create_task(attend(Relay(settings, clock), database, leads.set))
        await leads.wait()
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return relay
