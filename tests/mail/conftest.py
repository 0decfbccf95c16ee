"""Fixtures of the mail agent: an SMTP server, a database, the topics, and the agent's process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from runtime.settings import KafkaSettings
from store.postgres.roles import Role
from store.postgres.session import Address
from tests.mail.kill_loop import agent_for
from tests.mail.smtp_server import SmtpServer, running_smtp_server
from tests.support.processes import AgentProcess
from tests.support.roles import as_role
from tests.support.topics import TopicReader, reading_from_now
from topics.registry import DEAD_LETTERS


@pytest.fixture
async def smtp() -> AsyncIterator[SmtpServer]:
    """A mail server that takes everything until it is told otherwise."""
    async with running_smtp_server() as smtp:
        yield smtp


@pytest.fixture
async def producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Writes into the topics."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield producer


@pytest.fixture
async def dead_letters(kafka: KafkaSettings) -> AsyncIterator[TopicReader]:
    """Reads the dead letters from now on."""
    async with reading_from_now(kafka, DEAD_LETTERS.name) as reader:
        yield reader


@pytest.fixture
async def agent(
    kafka: KafkaSettings, database: str, smtp: SmtpServer, tmp_path: Path
) -> AsyncIterator[AgentProcess]:
    """The agent's process, not started yet, impatient for the tests' sake; killed at the end."""
    process = agent_for(kafka.kafka_bootstrap, as_role(Address(database), Role.MAIL), smtp, tmp_path)
    yield process
    process.kill()
