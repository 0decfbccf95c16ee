"""While a partition's marker is gone, writes wait and then say so; nothing wrong is ever shown."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from uuid import uuid4

import redis.asyncio

from carts.state import State
from store.redis import CartStore, Layout
from tests.gateway.cart_client import PATIENT, CartClient, Published, set_ready
from tests.gateway.conftest import client_of
from tests.gateway.rows import born, insert, state_of
from tests.gateway.test_hydration import some_time_ago
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import until
from topics.registry import PARTITIONS


async def wipe(carts: CartClient) -> None:
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:
        await raw.flushall()


async def restore(store: CartStore, layout: Layout, states: dict[str, State]) -> None:
    """What the restore agent does, from states folded by the test."""
    for partition in range(PARTITIONS):
        token = await store.restore_begin(partition)
        own = [
            (cart_id, state) for cart_id, state in states.items() if layout.partition(cart_id) == partition
        ]
        results = await store.restore_put(partition, token, 0, own)
        assert isinstance(results, list)
        assert await store.restore_finish(partition, token, 1, 0) is None


def folded(records: Iterable[Published]) -> dict[str, State]:
    values: dict[str, list[bytes]] = {}
    for record in records:
        values.setdefault(record.key, []).append(record.value)
    return {cart_id: state_of(found) for cart_id, found in values.items()}


async def test_a_write_to_a_wiped_redis_waits_and_then_says_when_to_come_back(
    carts: CartClient, cart_id: str
) -> None:
    await wipe(carts)
    reply = await carts.add(cart_id)
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/restoring")
    assert reply.headers["retry-after"]
    assert carts.layout.partition(cart_id) in await carts.store.restore_requests()
    assert await carts.outbox_is_empty()


async def test_a_write_that_waits_goes_on_once_its_partition_is_ready(
    breakable: Urls, start_gateway: Callable[..., GatewayProcess], cart_id: str
) -> None:
    gateway = start_gateway(**PATIENT, CARTSTREAM_RESTORE_WAIT_S="30")
    async with client_of(gateway, breakable) as carts:
        await wipe(carts)
        adding = asyncio.create_task(carts.add(cart_id))
        await until(carts.store.restore_requests, "partition wished for")
        await set_ready(carts.store)
        reply = await adding
        assert reply.status_code == 200, reply.text
        assert await carts.quantities(cart_id) == {"sku-1": 1}


async def test_a_read_while_restoring_shows_the_copy_of_postgres_as_stale(
    carts: CartClient, cart_id: str
) -> None:
    state = born(cart_id, some_time_ago())
    await insert(carts.urls.postgres, cart_id, state)
    await wipe(carts)
    reply = await carts.http.get(f"/v1/carts/{cart_id}")
    assert (reply.status_code, reply.headers["cart-freshness"]) == (200, "stale")
    assert reply.json()["version"] == state.version.tag()


async def test_a_read_while_restoring_never_shows_an_empty_cart(carts: CartClient, cart_id: str) -> None:
    await wipe(carts)
    reply = await carts.http.get(f"/v1/carts/{cart_id}")
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/restoring")
    assert reply.headers["retry-after"]


async def test_a_wipe_under_sixteen_writers_loses_and_doubles_nothing(
    carts: CartClient, cart_id: str
) -> None:
    ends = await carts.topic.ends()
    acknowledged: Counter[str] = Counter()
    others: Counter[int] = Counter()
    answered = [0] * 16
    stop = asyncio.Event()

    async def writer(number: int) -> None:
        cart = f"{cart_id}-{number % 4}"
        while not stop.is_set():
            key = str(uuid4())
            while True:
                reply = await carts.add(cart, idempotency_key=key)
                answered[number] += 1
                if reply.headers.get("preference-applied") == "durability=kafka":
                    break
                # Refused, or in Redis only and so at the mercy of the wipe: the same key, once more.
                others[reply.status_code] += 1
                assert reply.status_code == 200 or reply.headers["retry-after"], reply.text
            acknowledged[cart] += 1

    async def written(count: int) -> bool:
        return acknowledged.total() >= count

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(writer(number))
        await until(lambda: written(100), "100 adds acknowledged")
        await wipe(carts)
        at_wipe = list(answered)
        await until(carts.store.restore_requests, "partition wished for")
        # As the agent, which lets the publish deadline pass: what was under way is in Kafka, or is refused.
        await until(
            lambda: all(now > then for now, then in zip(answered, at_wipe, strict=True)),
            "an answer to whatever was under way",
        )
        # Like the agent: fold what Kafka has, put it, then set the marker.
        await restore(carts.store, carts.layout, folded(await carts.topic.since(ends)))
        before = acknowledged.total()
        await until(lambda: written(before + 100), "100 more adds acknowledged")
        stop.set()

    assert set(others) <= {200, 503}
    shown = {cart: (await carts.quantities(cart)).get("sku-1", 0) for cart in acknowledged}
    assert shown == dict(acknowledged)
