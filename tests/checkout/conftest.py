"""A shop for each module: gateways, compaction, Postgres sink and jobs, the product's own processes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import httpx
import pytest
import redis

from devstack.settings import KAFKA, POSTGRES, REDIS
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.checkout.shop import ELSEWHERE, INTERNAL, Agent, Shop
from tests.conftest import Servers
from tests.gateway.conftest import prepared
from tests.gateway.running import GatewayProcess, Urls, set_ready
from topics.registry import PARTITIONS


@pytest.fixture(scope="module")
def urls(servers: Servers) -> Iterator[Urls]:
    """The session's servers, with a database of the module's own and an empty Redis."""
    for found in prepared(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)):
        with redis.Redis.from_url(found.redis) as client:
            client.flushall()
        yield found


@pytest.fixture(scope="module")
def agents(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Agent]]:
    """Compaction, Postgres sink and jobs, at work."""
    folder = tmp_path_factory.mktemp("agents")
    settings = {
        **urls.environment(),
        **INTERNAL,
        "CARTSTREAM_SETTLEMENT_PAUSE_S": "0.3",
        "CARTSTREAM_SETTLEMENT_GRACE_S": "1",
        "CARTSTREAM_CHECKOUT_SWEEP_S": "0.3",
    }
    commands: dict[str, tuple[str, ...]] = {
        "compaction": ("streams", "compaction"),
        "sink": ("sinks", "postgres"),
        "jobs": ("jobs",),
    }
    found = {
        name: Agent(
            command, {**settings, "CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-checkout"}, folder
        )
        for name, command in commands.items()
    }
    with ExitStack() as cleanup:
        for agent in found.values():
            cleanup.callback(agent.kill)
            agent.start()
        for agent in found.values():
            agent.wait()
        yield found


@pytest.fixture(scope="module")
def gateways(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """One that places orders, one that hands carts to another owner of orders."""
    folder = tmp_path_factory.mktemp("gateways")
    here = GatewayProcess({**urls.environment(), **INTERNAL}, folder / "internal")
    elsewhere = GatewayProcess({**urls.environment(), **ELSEWHERE}, folder / "external")
    with ExitStack() as cleanup:
        for gateway in (here, elsewhere):
            cleanup.callback(gateway.kill)
            gateway.start()
        yield here, elsewhere


@pytest.fixture
async def shop(
    gateways: tuple[GatewayProcess, GatewayProcess], agents: dict[str, Agent], urls: Urls
) -> AsyncIterator[Shop]:
    """A client of the gateway that places orders."""
    async with AsyncExitStack() as stack:
        assert agents
        yield await shop_of(stack, gateways[0].url, gateways[1].url, urls)


@pytest.fixture
async def elsewhere(
    gateways: tuple[GatewayProcess, GatewayProcess], agents: dict[str, Agent], urls: Urls
) -> AsyncIterator[Shop]:
    """A client of the gateway that hands carts to another owner of orders."""
    async with AsyncExitStack() as stack:
        assert agents
        yield await shop_of(stack, gateways[1].url, gateways[1].url, urls)


async def shop_of(stack: AsyncExitStack, url: str, carts_url: str, urls: Urls) -> Shop:
    """A client of the gateways at `url` and `carts_url`; every partition of Redis is ready."""
    client = await stack.enter_async_context(PipelinedClient(RedisSettings(redis_url=urls.redis)))
    store = CartStore(client, Layout(PARTITIONS))
    await set_ready(store)
    limits = httpx.Limits(max_connections=200)
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, limits=limits))
    carts = await stack.enter_async_context(httpx.AsyncClient(base_url=carts_url, timeout=60, limits=limits))
    return Shop(http, carts, store, urls)
