"""A full Redis: carts are read, emptied and ordered, nothing grows, and everybody is told."""

import httpx
import pytest

from store.redis import Missing, StoredCart
from store.redis.catalogue import NoRoom
from tests.gateway.cart_client import CartClient, item
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.gateway.rows import born, insert
from tests.gateway.test_hydration import some_time_ago
from tests.support.memory import BEYOND, FAR_BEYOND, RESERVE, filled
from tests.support.waiting import until


def is_refused(reply: httpx.Response) -> bool:
    """Whether there was no room, as an answer says it."""
    if reply.status_code == 200:
        return False
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/store-full"), reply.text
    assert reply.headers["retry-after"] == "5"
    return True


async def until_full(carts: CartClient, cart_id: str) -> None:
    """Wait until the gateway has seen it."""

    async def refuses() -> bool:
        return is_refused(await carts.add(f"{cart_id}-probe"))

    await until(refuses, "the gateway refuses growth")


async def until_seen(carts: CartClient, share: float) -> None:
    """Wait until the gateway has seen how much is used."""

    async def is_seen() -> bool:
        used, bound = [
            await metric(carts, f"cartstream_gateway_redis_{kind}_bytes") for kind in ("used", "max")
        ]
        return bound > 0 and used / bound > share - 0.02

    await until(is_seen, "the gateway has seen how full Redis is")


async def until_roomy(carts: CartClient, cart_id: str) -> None:
    """Wait until the gateway has seen that there is room."""

    async def grows() -> bool:
        return not is_refused(await carts.add(f"{cart_id}-probe"))

    await until(grows, "the gateway takes growth")


async def metric(carts: CartClient, name: str) -> float:
    """The value of a gauge without labels."""
    for line in (await carts.http.get("/metrics")).text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"there is no {name}")


async def test_with_the_reserve_left_carts_are_read_and_emptied_and_do_not_grow(
    carts: CartClient, cart_id: str
) -> None:
    await until_roomy(carts, cart_id)
    for product_id in ("sku-1", "sku-2", "sku-3"):
        assert (await carts.add(cart_id, product_id, 3, idempotency_key=product_id)).status_code == 200
    path = f"/v1/carts/{cart_id}"
    with filled(carts.urls.redis, RESERVE):
        await until_full(carts, cart_id)
        ready = await carts.http.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "it is full" in ready.json()["checks"]["redis"]["detail"]
        assert await metric(carts, "cartstream_gateway_redis_full") == 1
        used, bound = [
            await metric(carts, f"cartstream_gateway_redis_{kind}_bytes") for kind in ("used", "max")
        ]
        assert 0.95 < used / bound < 1

        assert is_refused(await carts.add(cart_id, "sku-4"))
        assert is_refused(await carts.http.patch(f"{path}/items/sku-1", json={"quantity": 4}))
        assert is_refused(await carts.http.post("/v1/carts", json={"items": [item()]}))
        assert await carts.quantities(cart_id) == {"sku-1": 3, "sku-2": 3, "sku-3": 3}
        retry = await carts.add(cart_id, "sku-3", 3, idempotency_key="sku-3")
        assert (retry.status_code, retry.headers["idempotency-replayed"]) == (200, "true")
        for done in (
            await carts.http.delete(f"{path}/items/sku-1"),
            await carts.http.patch(f"{path}/items/sku-2", json={"quantity": 1}),
        ):
            assert done.status_code == 200, done.text
            assert done.headers["preference-applied"] == "durability=kafka"
        assert await carts.quantities(cart_id) == {"sku-2": 1, "sku-3": 3}
        assert (await carts.http.delete(path)).status_code == 200
        assert await carts.quantities(cart_id) == {}
    await until_roomy(carts, cart_id)
    assert await metric(carts, "cartstream_gateway_redis_full") == 0
    await until(carts.outbox_is_empty, "outbox empty")


@pytest.mark.parametrize("share", [RESERVE, BEYOND, FAR_BEYOND])
async def test_carts_that_only_postgres_has_are_read_and_brought_in_only_to_get_smaller(
    carts: CartClient, cart_id: str, share: float
) -> None:
    state = born(cart_id, some_time_ago(), quantity=3)
    await insert(carts.urls.postgres, cart_id, state)
    with filled(carts.urls.redis, share):
        await until_full(carts, cart_id)
        await until_seen(carts, share)
        read = await carts.http.get(f"/v1/carts/{cart_id}")
        assert (read.status_code, read.json()["version"]) == (200, state.version.tag())
        assert "cart-freshness" not in read.headers
        assert is_refused(await carts.add(cart_id))
        assert isinstance(await carts.store.read(cart_id), Missing)
        removed = await carts.http.delete(f"/v1/carts/{cart_id}/items/sku-1")
        if share == FAR_BEYOND:
            assert is_refused(removed)
        else:
            assert removed.status_code == 200, removed.text
            assert isinstance(await carts.store.read(cart_id), StoredCart)
            assert await carts.quantities(cart_id) == {}
        never = await carts.http.get(f"/v1/carts/{cart_id}-never")
        assert (never.status_code, never.json()["lines"]) == (200, [])


async def test_beyond_the_reserve_a_cart_in_redis_is_still_emptied(carts: CartClient, cart_id: str) -> None:
    await until_roomy(carts, cart_id)
    assert (await carts.add(cart_id)).status_code == 200
    with filled(carts.urls.redis, BEYOND):
        assert is_refused(await carts.add(cart_id))
        assert (await carts.http.delete(f"/v1/carts/{cart_id}")).status_code == 200
        assert await carts.quantities(cart_id) == {}
        await until(carts.outbox_is_empty, "outbox empty")
        assert is_refused(await carts.http.post(f"/v1/carts/{cart_id}/stream-tickets"))


async def test_a_partition_that_is_restored_meanwhile_is_read_and_asked_for(
    carts: CartClient, cart_id: str
) -> None:
    state = born(cart_id, some_time_ago())
    await insert(carts.urls.postgres, cart_id, state)
    with filled(carts.urls.redis, BEYOND):
        await carts.store.forget_marker(carts.layout.partition(cart_id))
        read = await carts.http.get(f"/v1/carts/{cart_id}")
        assert (read.status_code, read.headers["cart-freshness"]) == (200, "stale")
        assert carts.layout.partition(cart_id) in await carts.store.restore_requests()


async def test_products_that_stand_still_are_said_to(shop: CatalogueClient) -> None:
    await shop.cached_products.put(product("cup"))
    with filled(shop.carts.urls.redis, BEYOND):
        cache, following = shop.cached_products.cache, await shop.cached_products.cache.follow(1)
        new = product("pot", version=9)
        assert await cache.put(0, following.generation, 1, 2, [new], partitions=1, at_end=True) == NoRoom()

        async def is_known() -> bool:
            return bool(
                (await shop.http.get("/v1/products/cup")).headers.get("catalogue-freshness") == "stale"
            )

        await until(is_known, "the gateway has seen it")
        assert (await shop.http.get("/v1/products")).headers["catalogue-freshness"] == "stale"
        body = {"name": "Cup", "unit_price": 1450, "currency": "EUR"}
        written = await shop.http.put("/v1/products/cup", json=body)
        assert written.status_code in {200, 201}
        assert written.headers["catalogue-freshness"] == "stale"
        ready = await shop.http.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "stood still" in ready.json()["checks"]["products"]["detail"]
        assert await metric(shop.carts, "cartstream_gateway_products_stand_still") == 1
    await shop.cached_products.put(new)

    async def is_fresh() -> bool:
        return "catalogue-freshness" not in (await shop.http.get("/v1/products/cup")).headers

    await until(is_fresh, "the gateway has seen it")
