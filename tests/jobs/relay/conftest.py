"""Fixtures of the relay: a database with an outbox, the topics, a reader; nothing relays yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from pydantic import SecretStr

from jobs.leadership import run_as_leader
from jobs.outbox_relay import OutboxRelay
from jobs.settings import JobsSettings
from runtime.settings import KafkaSettings
from tests.support.servers import Urls
from tests.support.topics import TopicReader, reading_from_now
from topics.registry import DEAD_LETTERS, ORDERS

Relaying = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
async def reader(kafka: KafkaSettings) -> AsyncIterator[TopicReader]:
    """Reads what is relayed from now on."""
    async with reading_from_now(kafka, ORDERS.name, DEAD_LETTERS.name) as reader:
        yield reader


@pytest.fixture
def urls(kafka: KafkaSettings, database: str, redis_url: str) -> Urls:
    """Where a process finds its servers."""
    return Urls(kafka.kafka_bootstrap, redis_url, database)


@pytest.fixture
def relaying(kafka: KafkaSettings, database: str) -> Relaying:
    """A process that attends to the relay while the context lasts."""

    @asynccontextmanager
    async def relay(sweep_s: float = 1.0, clock: Callable[[], float] = time.time) -> AsyncIterator[None]:
        settings = JobsSettings(
            kafka_bootstrap=kafka.kafka_bootstrap, postgres_url=SecretStr(database), relay_sweep_s=sweep_s
        )
        leads = asyncio.Event()
        task = asyncio.create_task(
            run_as_leader(OutboxRelay(settings, clock), settings.postgres_address, leads.set)
        )
        await leads.wait()
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return relay
