"""Quotas of a gateway that serves: who is counted, what is answered, what the pages and Redis have of it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from devstack.embedded import EmbeddedStack
from devstack.settings import REDIS
from tests.gateway.conftest import catalogue_client_of, client_of
from tests.support.http import http_client
from tests.support.outages import frozen
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.production import PRODUCTION, bearer
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.names import IN_REDIS

QUOTAS = {
    "CARTSTREAM_RATE_PER_ADDRESS": "40",
    "CARTSTREAM_RATE_PER_SHOPPER": "5",
    "CARTSTREAM_RATE_PER_SERVICE": "20",
    "CARTSTREAM_RATE_OF_MINTS": "3",
    "CARTSTREAM_RATE_OF_PRODUCTS": "2",
}
PRODUCT = {"name": "Cup", "category": "kitchen", "unit_price": 1450, "currency": "EUR", "stock": 5}


@pytest.fixture(scope="module")
def limited(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway in production mode, with a catalogue and small quotas."""
    folder: Path = tmp_path_factory.mktemp("limited")
    process = GatewayProcess({**urls.environment(), **PRODUCTION, **INTERNAL, **QUOTAS}, folder)
    process.start()
    yield process
    process.kill()


def from_address(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


def check_refused(reply: httpx.Response, policy: str) -> None:
    assert reply.status_code == 429, reply.text
    problem = reply.json()
    assert (problem["type"], problem["violated-policies"]) == ("/problems/rate-limited", [policy])
    assert int(reply.headers["retry-after"]) >= 1
    assert f'"{policy}";r=0;' in reply.headers["ratelimit"]


async def test_a_shopper_has_a_quota_and_is_told_what_is_left(limited: GatewayProcess, urls: Urls) -> None:
    async with client_of(limited, urls), http_client(limited.url) as http:
        ada, bob = bearer("ada"), bearer("bob")
        found = [await http.get("/v1/carts/me", headers=ada) for _ in range(6)]
        assert [reply.status_code for reply in found[:5]] == [200] * 5
        assert [reply.headers["ratelimit"].partition(";t=")[0] for reply in found[:2]] == [
            '"shopper";r=4',
            '"shopper";r=3',
        ]
        assert found[0].headers["ratelimit-policy"] == '"shopper";q=5;w=60'
        check_refused(found[5], "shopper")
        assert (await http.get("/v1/carts/me", headers=bob)).status_code == 200
        stranger = await http.get("/v1/carts/user:ada", headers=bob)
        assert (stranger.status_code, stranger.headers.get("ratelimit")) == (404, None)
    with redis.Redis.from_url(urls.redis) as client:

        async def is_shared() -> bool:
            return any(client.scan_iter(f"{IN_REDIS}rate:shopper:*"))

        await until(is_shared, "use of the quota in Redis")


async def test_an_address_mints_so_many_carts_and_a_service_as_many_as_it_needs(
    limited: GatewayProcess,
) -> None:
    async with http_client(limited.url) as http:
        found = [await http.post("/v1/carts", headers=from_address("203.0.113.1")) for _ in range(4)]
        assert [reply.status_code for reply in found[:3]] == [201] * 3
        check_refused(found[3], "mint")
        other = await http.post("/v1/carts", headers=from_address("203.0.113.2"))
        assert other.status_code == 201
        service = from_address("203.0.113.1") | bearer("shop", "carts")
        assert [(await http.post("/v1/carts", headers=service)).status_code for _ in range(4)] == [201] * 4
        unknown = [await http.post("/v1/carts") for _ in range(4)]
        assert [reply.status_code for reply in unknown] == [201] * 4


async def test_an_address_has_a_quota_whatever_it_asks_but_for_probes(limited: GatewayProcess) -> None:
    async with http_client(limited.url) as http:
        asking = from_address("203.0.113.3")
        # A unit is given back each 1.5 s, so they come together.
        began = time.monotonic()
        found = await asyncio.gather(*(http.get("/v1/nothing", headers=asking) for _ in range(80)))
        refused = [reply for reply in found if reply.status_code != 404]
        given_back = (time.monotonic() - began) / 1.5 + 1
        assert 40 <= len(found) - len(refused) <= 40 + given_back
        for reply in refused:
            check_refused(reply, "address")
        assert refused
        assert (await http.get("/health/live", headers=asking)).status_code == 200
        sample = 'cartstream_gateway_rate_limited_total{policy="address"}'
        metrics = await http.get("/metrics", headers=bearer("monitor", "carts"))
        assert f"{sample} {float(len(refused))}" in metrics.text.splitlines()


async def test_a_service_writes_so_many_products(limited: GatewayProcess, urls: Urls) -> None:
    async with catalogue_client_of(limited, urls), http_client(limited.url) as http:
        writer = bearer("erp", "catalogue")
        found = [
            await http.put(f"/v1/products/cup-{number}", json=PRODUCT, headers=writer) for number in range(3)
        ]
        assert [reply.status_code for reply in found[:2]] == [201] * 2
        check_refused(found[2], "products")
        check_refused(
            await http.post(
                "/v1/products/import",
                content=b'{"product_id":"cup"}\n',
                headers=writer | {"content-type": "application/x-ndjson"},
            ),
            "products",
        )


async def test_quotas_need_no_redis(
    stack: EmbeddedStack, start_gateway: Callable[..., GatewayProcess]
) -> None:
    gateway = start_gateway(**PRODUCTION, **QUOTAS)
    async with http_client(gateway.url) as http:
        with frozen(stack, REDIS):
            found = [await http.post("/v1/carts", headers=from_address("203.0.113.4")) for _ in range(4)]
        assert [reply.status_code for reply in found] == [201, 201, 201, 429]
