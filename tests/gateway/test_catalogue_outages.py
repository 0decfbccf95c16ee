"""The catalogue while a server is away: reads go on, writes say what became of them."""

import json
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import psycopg
import pytest

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from tests.gateway.conftest import catalogue_client_of
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.support.outages import stopped
from tests.support.processes import EXTERNAL, INTERNAL, GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until

StartGateway = Callable[..., GatewayProcess]

CUP = {"name": "Cup", "unit_price": 1450, "currency": "EUR"}


@pytest.fixture
async def shop(start_gateway: StartGateway, breakable: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of a gateway on breakable servers, with a cup in the cache."""
    # While an import waits for what the test does to Postgres, it waits for its body.
    gateway = start_gateway(**INTERNAL, CARTSTREAM_BODY_WAIT_S="20")
    async with catalogue_client_of(gateway, breakable) as found:
        await found.cached_products.put(product("cup"))
        yield found


def kept(url: str, name: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM products WHERE product_id LIKE %s", (f"{name}%",))
        return int((found.fetchone() or (0,))[0])


async def test_a_shop_page_and_a_cart_do_without_postgres(
    shop: CatalogueClient, stack: EmbeddedStack, cart_id: str
) -> None:
    add = {"product_id": "cup", "quantity": 1}
    assert (await shop.http.post(f"/v1/carts/{cart_id}/items", json=add)).status_code == 200
    with stopped(stack, POSTGRES):
        for path in ("/v1/products", "/v1/products/cup", f"/v1/carts/{cart_id}"):
            reply = await shop.http.get(path)
            assert reply.status_code == 200, reply.text
        assert (await shop.http.post(f"/v1/carts/{cart_id}/items", json=add)).status_code == 200
        refused = await shop.http.put("/v1/products/cup", json=CUP)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/database-unavailable")
        assert refused.headers["retry-after"]

    async def written() -> bool:
        return (await shop.http.put("/v1/products/cup", json=CUP)).status_code in {200, 201}

    await until(written, "Postgres is back")


async def test_an_import_that_loses_postgres_says_how_far_it_got_and_is_sent_again(
    shop: CatalogueClient, stack: EmbeddedStack, breakable: Urls
) -> None:
    name = f"sku-{uuid4().hex}"
    lines = [json.dumps({"product_id": f"{name}-{n:04}", **CUP}).encode() + b"\n" for n in range(2000)]
    ndjson = {"content-type": "application/x-ndjson"}

    async def interrupted() -> AsyncIterator[bytes]:
        yield b"".join(lines[:1000])

        async def begun() -> bool:
            return kept(breakable.postgres, name) >= 500

        await until(begun, "the first lines are kept")
        stack.component(POSTGRES).stop()
        yield b"".join(lines[1000:])

    try:
        reply = await shop.http.post("/v1/products/import", content=interrupted(), headers=ndjson)
    finally:
        stack.component(POSTGRES).start()
    last = json.loads(reply.content.splitlines()[-1])
    assert last["type"] == "stopped", reply.text
    assert "Send the request again" in last["detail"]
    assert kept(breakable.postgres, name) == last["imported"] == last["lines"] >= 500

    async def sent_again() -> str:
        again = await shop.http.post("/v1/products/import", content=b"".join(lines), headers=ndjson)
        return again.text if again.status_code == 200 else ""

    summary = json.loads((await until(sent_again, "Postgres is back")).splitlines()[-1])
    assert (summary["type"], summary["imported"]) == ("summary", 2000)
    assert kept(breakable.postgres, name) == 2000


@pytest.mark.drill
async def test_another_systems_product_is_refused_while_kafka_is_away(
    start_gateway: StartGateway, breakable: Urls, stack: EmbeddedStack
) -> None:
    async with catalogue_client_of(start_gateway(**EXTERNAL), breakable) as shop:
        await shop.cached_products.put_as_sent(product("cup", version=7))
        with stopped(stack, KAFKA):
            refused = await shop.http.put("/v1/products/cup", json={**CUP, "version": 8})
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/kafka-unavailable")
            assert (await shop.http.get("/v1/products/cup")).status_code == 200

        async def written() -> bool:
            reply = await shop.http.put("/v1/products/cup", json={**CUP, "version": 8})
            return reply.status_code == 200

        await until(written, "Kafka is back")


async def test_without_redis_products_are_asked_for_again(
    shop: CatalogueClient, stack: EmbeddedStack
) -> None:
    with stopped(stack, REDIS):
        for path in ("/v1/products", "/v1/products/cup"):
            refused = await shop.http.get(path)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-unavailable")
