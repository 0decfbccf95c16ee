"""A shop for each module: gateways, compaction, Postgres sink and jobs, the product's own processes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest
import redis

from devstack.settings import KAFKA, POSTGRES, REDIS
from store.postgres.roles import Role
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings
from tests.checkout.checkout_client import CheckoutClient
from tests.gateway.cart_client import PATIENT, set_ready
from tests.support.http import http_client
from tests.support.processes import INTERNAL, PRICED_BY_CALLER, AgentProcess, GatewayProcess, until_at_work
from tests.support.servers import Servers, Urls, prepared
from topics.registry import PARTITIONS


@pytest.fixture(scope="module")
def urls(servers: Servers) -> Iterator[Urls]:
    """The session's servers, with a database of the module's own and an empty Redis."""
    with prepared(servers.url(KAFKA), servers.url(REDIS), servers.url(POSTGRES)) as found:
        with redis.Redis.from_url(found.redis) as client:
            client.flushall()
        yield found


@pytest.fixture(scope="module")
def agents(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, AgentProcess]]:
    """Compaction, Postgres sink and jobs, at work."""
    folder = tmp_path_factory.mktemp("agents")
    settings = {
        **INTERNAL,
        "CARTSTREAM_SESSION_TIMEOUT_S": "6",
        "CARTSTREAM_SETTLEMENT_PAUSE_S": "0.3",
        "CARTSTREAM_SETTLEMENT_GRACE_S": "1",
        "CARTSTREAM_CHECKOUT_SWEEP_S": "0.3",
    }
    commands: dict[str, tuple[tuple[str, ...], Role | None]] = {
        "compaction": (("streams", "compaction"), None),
        "sink": (("sinks", "postgres"), Role.SINK),
        "jobs": (("jobs",), Role.JOBS),
    }
    found = {
        name: AgentProcess(
            command,
            {
                **urls.environment(role),
                **settings,
                "CARTSTREAM_GROUP_INSTANCE_ID": f"{'-'.join(command)}-checkout",
            },
            folder,
        )
        for name, (command, role) in commands.items()
    }
    with ExitStack() as cleanup:
        for agent in found.values():
            cleanup.callback(agent.kill)
            agent.launch()
        for agent in found.values():
            agent.wait_ready()
        yield found


@pytest.fixture(scope="module")
def gateways(
    urls: Urls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """One that places orders, one that hands carts to another owner of orders."""
    folder = tmp_path_factory.mktemp("gateways")
    # A checkout waits for the agents, and tests that ask once for an order take no 503 for an answer.
    patient = {**PATIENT, "CARTSTREAM_CHECKOUT_DEADLINE_S": "45"}
    environment = {**urls.environment(Role.GATEWAY), **patient}
    here = GatewayProcess({**environment, **INTERNAL}, folder / "internal")
    elsewhere = GatewayProcess({**environment, **PRICED_BY_CALLER}, folder / "external")
    with ExitStack() as cleanup:
        for gateway in (here, elsewhere):
            cleanup.callback(gateway.kill)
            gateway.start()
        yield here, elsewhere


@pytest.fixture
async def shop(
    gateways: tuple[GatewayProcess, GatewayProcess], agents: dict[str, AgentProcess], urls: Urls
) -> AsyncIterator[CheckoutClient]:
    """A client of the gateway that places orders."""
    async with AsyncExitStack() as stack:
        await until_at_work(agents)
        yield await checkout_client_of(stack, gateways[0].url, gateways[1].url, urls)


@pytest.fixture
async def elsewhere(
    gateways: tuple[GatewayProcess, GatewayProcess], agents: dict[str, AgentProcess], urls: Urls
) -> AsyncIterator[CheckoutClient]:
    """A client of the gateway that hands carts to another owner of orders."""
    async with AsyncExitStack() as stack:
        await until_at_work(agents)
        yield await checkout_client_of(stack, gateways[1].url, gateways[1].url, urls)


async def checkout_client_of(stack: AsyncExitStack, url: str, carts_url: str, urls: Urls) -> CheckoutClient:
    """A client of the gateways at `url` and `carts_url`; every partition of Redis is ready."""
    client = await stack.enter_async_context(PipelinedClient(RedisSettings(redis_url=urls.redis)))
    store = CartStore(client, Layout(PARTITIONS))
    await set_ready(store)
    http = await stack.enter_async_context(http_client(url))
    carts = await stack.enter_async_context(http_client(carts_url))
    return CheckoutClient(http, carts, store, urls)
