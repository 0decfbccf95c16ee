"""Fixtures of the operators' commands: a broker of their own, for they look at every cart there is.

With `-m cluster` the commands look into clusters, of Valkey and of Redis 7.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, REDIS
from runtime.settings import KafkaSettings
from tests.ops.command_line import CommandLine, environment
from tests.ops.states import Changes
from tests.sinks.conftest import redis, topics
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.support.processes import AgentProcess, compaction_process
from tests.support.redis_servers import REDIS_7, ClusterServers, emptied
from tests.support.servers import Servers
from tests.support.waiting import until
from topics.apply import apply
from topics.registry import PARTITIONS, TOPICS

__all__ = ["redis", "topics"]

STACK: Final = "stack"


@pytest.fixture(scope="session")
def own_kafka() -> Iterator[str]:
    """`host:port` of a broker that no other tests use."""
    folder = Path(tempfile.mkdtemp(prefix="cartstream-ops-"))
    try:
        with EmbeddedStack(folder, only=[KAFKA]) as stack:
            yield stack.urls.kafka_bootstrap
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def kafka(own_kafka: str) -> KafkaSettings:
    """The product's topics, all of them empty."""
    settings = KafkaSettings(kafka_bootstrap=own_kafka)
    names = {spec.name for spec in TOPICS}
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:

        async def present() -> list[str]:
            return sorted(names.intersection(await admin.list_topics()))

        async def gone() -> bool:
            return not await present()

        if old := await present():
            await admin.delete_topics(old)
            await until(gone, "the old topics gone")
    finally:
        await admin.close()
    await apply(settings, partitions=PARTITIONS, allow_single=True)
    return settings


@pytest.fixture(
    scope="session",
    params=[
        STACK,
        pytest.param("cluster", marks=pytest.mark.cluster),
        pytest.param("redis-cluster", marks=pytest.mark.cluster),
    ],
)
def redis_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the session's Redis, then of each cluster."""
    if request.param == STACK:
        servers: Servers = request.getfixturevalue("servers")
        yield servers.url(REDIS)
        return
    program = REDIS_7 if request.param == "redis-cluster" else None
    with ClusterServers(tmp_path_factory.mktemp(request.param), program=program) as cluster:
        yield cluster.url


@pytest.fixture
def redis_url(redis_place: str) -> str:
    """A Redis, or a cluster, that is empty."""
    return emptied(redis_place)


@pytest.fixture
def command_line(kafka: KafkaSettings, redis_url: str, database: str) -> CommandLine:
    """Somebody at the command line, with empty stores."""
    return CommandLine(environment(kafka.kafka_bootstrap, redis_url, database))


@pytest.fixture
async def compaction(kafka: KafkaSettings, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The product's compaction agent, ready."""
    worker = compaction_process(kafka.kafka_bootstrap, tmp_path)
    try:
        await worker.start()
        yield worker
    finally:
        worker.kill()


@pytest.fixture
async def changes(kafka: KafkaSettings) -> AsyncIterator[Changes]:
    """Writes anything into `cart-changed`."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        yield Changes(producer)


@pytest.fixture
async def ready(redis: Redis) -> Redis:
    """A Redis with every marker, and no agent that would mend anything."""
    for partition in range(LAYOUT.partitions):
        await redis.store.restore_finish(partition, await redis.store.restore_begin(partition), 0, 0)
    return redis
