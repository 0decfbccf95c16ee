"""A shop whose processes send traces: gateway, compaction and Postgres sink, and a collector."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import httpx
import pytest
import redis

from devstack.settings import KAFKA, POSTGRES, REDIS
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.gateway.cart_client import set_ready
from tests.support.http import http_client
from tests.support.processes import PRICED_BY_CALLER, AgentProcess, GatewayProcess
from tests.support.servers import Servers, Urls, prepared
from tests.traces.collector import Collector, running
from topics.registry import PARTITIONS


@pytest.fixture(scope="session")
def urls(servers: Servers) -> Iterator[Urls]:
    """The session's servers, with a database of its own and an empty Redis."""
    with prepared(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)) as found:
        with redis.Redis.from_url(found.redis) as client:
            client.flushall()
        yield found


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """The collector."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def traced(collector: Collector) -> dict[str, str]:
    """What makes a process send its spans there, soon."""
    return {
        "CARTSTREAM_TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


@pytest.fixture(scope="session")
def gateway(
    urls: Urls, traced: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """The gateway, with compaction and the Postgres sink behind it."""
    folder = tmp_path_factory.mktemp("traces")
    environment = {**urls.environment(), **traced, **PRICED_BY_CALLER, "CARTSTREAM_SESSION_TIMEOUT_S": "6"}
    with ExitStack() as cleanup:
        agents = [
            AgentProcess(
                command,
                environment | {"CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-traces"},
                folder,
            )
            for command in (("streams", "compaction"), ("sinks", "postgres"))
        ]
        process = GatewayProcess(environment, folder / "gateway")
        for each in (*agents, process):
            cleanup.callback(each.kill)
            each.launch()
        for each in (*agents, process):
            each.wait_ready()
        yield process


@pytest.fixture
async def http(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway; every partition of Redis is ready."""
    async with PipelinedClient(RedisSettings(redis_url=urls.redis)) as client:
        await set_ready(CartStore(client, Layout(PARTITIONS)))
        async with http_client(gateway.url) as found:
            yield found
