"""Fixtures of the gateway: one process for the session, empty servers for each test."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.gateway.cart_client import PATIENT, CartClient, Topic, set_ready
from tests.gateway.product_fixtures import CachedProducts, CatalogueClient
from tests.support.http import http_client
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Servers, Urls, prepared, prepared_embedded
from tests.support.waiting import until
from topics.registry import PARTITIONS


@asynccontextmanager
async def client_of(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of the gateway, on an empty Redis whose partitions are ready."""
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(redis.asyncio.Redis.from_url(urls.redis))
        await raw.flushall()
        client = await stack.enter_async_context(PipelinedClient(RedisSettings(redis_url=urls.redis)))
        layout = Layout(PARTITIONS)
        store = CartStore(client, layout)
        await set_ready(store)
        http = await stack.enter_async_context(http_client(gateway.url))
        yield CartClient(http, store, layout, Topic(urls.kafka), urls)


@asynccontextmanager
async def catalogue_client_of(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of a gateway with a catalogue, whose cache is empty and not ready."""
    async with (
        client_of(gateway, urls) as carts,
        PipelinedClient(RedisSettings(redis_url=urls.redis)) as client,
    ):
        yield CatalogueClient(carts, CachedProducts(client))


@pytest.fixture(scope="session")
def urls(servers: Servers) -> Iterator[Urls]:
    """The session's servers, prepared."""
    with prepared(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)) as urls:
        yield urls


@pytest.fixture(scope="module")
def gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway on the session's servers; tests leave it alive. It sweeps, so no other folder has it."""
    process = GatewayProcess({**urls.environment(), **PATIENT}, tmp_path_factory.mktemp("gateway"))
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def catalogue_gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a catalogue of its own, on the session's servers; tests leave it alive."""
    environment = {**urls.environment(), **INTERNAL, **PATIENT}
    process = GatewayProcess(environment, tmp_path_factory.mktemp("shop"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def shop(catalogue_gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of that gateway; the catalogue is empty and not ready."""
    async with catalogue_client_of(catalogue_gateway, urls) as found:
        await until(found.carts.reaches_kafka, "the gateway reaches Kafka")
        yield found


@pytest.fixture
async def carts(gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CartClient]:
    """A client of the session's gateway; Redis is empty and ready."""
    async with client_of(gateway, urls) as found:
        await until(found.reaches_kafka, "the gateway reaches Kafka")
        yield found


@pytest.fixture(scope="session")
def breakable(stack: EmbeddedStack) -> Iterator[Urls]:
    """Embedded servers, whatever else is given: tests may hurt them if they heal them."""
    with prepared_embedded(stack) as urls:
        yield urls


@pytest.fixture
def start_gateway(breakable: Urls, tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts gateways of the test's own on the breakable servers; killed at the end."""
    started: list[GatewayProcess] = []

    def start(**environment: str) -> GatewayProcess:
        process = GatewayProcess({**breakable.environment(), **environment}, tmp_path / str(len(started)))
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def cart_id() -> str:
    """A cart nobody has used."""
    return f"user:{uuid4().hex}"
