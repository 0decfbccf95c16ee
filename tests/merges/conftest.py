"""The product's own processes for each module: gateway, compaction, sinks, jobs and merge agent."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
import redis.asyncio

from devstack.settings import KAFKA, POSTGRES, REDIS
from store.postgres.roles import Role
from store.postgres.session import Address
from tests.merges.merge_client import MergeClient
from tests.support.http import http_client
from tests.support.processes import PRICED_BY_CALLER, AgentProcess, GatewayProcess, until_at_work
from tests.support.restored import is_restored
from tests.support.roles import as_role
from tests.support.servers import Servers, Urls, prepared_beside_a_monolith
from tests.support.waiting import until

COMMANDS: dict[str, tuple[str, ...]] = {
    "compaction": ("streams", "compaction"),
    "sink": ("sinks", "postgres"),
    "restore": ("sinks", "redis"),
    "jobs": ("jobs",),
    "merges": ("streams", "merges"),
}
ROLES = {"sink": Role.SINK, "restore": Role.RESTORE, "jobs": Role.JOBS, "merges": Role.MERGES}
"""What they may do in Postgres."""

QUICK = {
    "CARTSTREAM_SESSION_TIMEOUT_S": "6",
    "CARTSTREAM_MERGE_PAUSE_S": "0.3",
    "CARTSTREAM_MERGE_GRACE_S": "1",
    "CARTSTREAM_MERGE_WATCH_PAUSE_S": "0.5",
}
"""What tests would have to wait for."""


@pytest.fixture(scope="module")
def urls(servers: Servers) -> Iterator[Urls]:
    """The session's servers, with a database of the module's own, a monolith's too, and an empty Redis."""
    with prepared_beside_a_monolith(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)) as found:
        with redis.Redis.from_url(found.redis) as client:
            client.flushall()
        yield found


@pytest.fixture(scope="module")
def environment(urls: Urls) -> dict[str, str]:
    """Of every process: callers name the prices, and the job waits for nothing."""
    return {**urls.environment(), **PRICED_BY_CALLER, **QUICK}


@pytest.fixture(scope="module")
def commands() -> dict[str, tuple[str, ...]]:
    """The agents of the module."""
    return COMMANDS


@pytest.fixture(scope="module")
def agents(
    environment: dict[str, str],
    commands: dict[str, tuple[str, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, AgentProcess]]:
    """Compaction, sinks, jobs and merge agent, at work."""
    folder = tmp_path_factory.mktemp("agents")
    found = {
        name: AgentProcess(
            command,
            {
                **limited(environment, ROLES.get(name)),
                "CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-merges",
            },
            folder,
        )
        for name, command in commands.items()
    }
    with ExitStack() as cleanup:
        for agent in found.values():
            cleanup.callback(agent.kill)
            agent.launch()
        for agent in found.values():
            agent.wait_ready()
        yield found


def limited(environment: dict[str, str], role: Role | None) -> dict[str, str]:
    """The environment of a process that has no more rights in Postgres than it needs."""
    if role is None:
        return environment
    address = Address(environment["CARTSTREAM_POSTGRES_URL"], environment["CARTSTREAM_POSTGRES_SCHEMA"])
    return {**environment, "CARTSTREAM_POSTGRES_URL": as_role(address, role)}


@contextmanager
def running_gateway(environment: dict[str, str], folder: Path) -> Iterator[GatewayProcess]:
    """A gateway that has started; killed at the end."""
    found = GatewayProcess(limited(environment, Role.GATEWAY), folder)
    try:
        found.start()
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def gateway(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway."""
    with running_gateway(environment, tmp_path_factory.mktemp("gateway")) as found:
        yield found


async def until_all_works(agents: dict[str, AgentProcess], urls: Urls) -> None:
    """Wait until every agent works, and Redis has everything that an earlier test has wiped."""
    await until_at_work(agents)
    await until(lambda: is_restored(urls.redis), "Redis restored")


@pytest.fixture
async def client(
    gateway: GatewayProcess, agents: dict[str, AgentProcess], urls: Urls
) -> AsyncIterator[MergeClient]:
    """A client of the gateway, with carts of its own."""
    await until_all_works(agents, urls)
    async with http_client(gateway.url) as http:
        yield MergeClient(http, urls)
