"""Fixtures of the relay: a database with an outbox, the topics, a reader; nothing relays yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from devstack.settings import POSTGRES
from jobs.leadership import run_as_leader
from jobs.outbox_relay import OutboxRelay
from jobs.settings import JobsSettings
from runtime.settings import KafkaSettings
from tests.conftest import Servers
from tests.databases import migrated_database
from tests.relay.outbox_side import Reader
from topics.apply import apply
from topics.registry import PARTITIONS

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
    with migrated_database(servers.url(POSTGRES), "relay") as url:
        yield url


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
        settings = JobsSettings(
            kafka_bootstrap=kafka.kafka_bootstrap, postgres_url=SecretStr(database), relay_sweep_s=sweep_s
        )
        leads = asyncio.Event()
        task = asyncio.create_task(run_as_leader(OutboxRelay(settings, clock), database, leads.set))
        await leads.wait()
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return relay
