"""An erased cart stays erased on the whole product: no stale replica, outbox or wipe brings anything back."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from store.redis import Layout
from tests.jobs.conftest import SystemUnderTest
from tests.support.erasing import erase_cart
from tests.support.http import http_client
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.registry import CART_CHANGED, CARTS, PARTITIONS

SECRET = "Ada Lovelace"
LAYOUT = Layout(PARTITIONS)


@pytest.fixture
async def jobs(system: SystemUnderTest, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The jobs, of which the relay carries erasures."""
    process = AgentProcess(("jobs",), system.urls.environment(), tmp_path, "jobs")
    try:
        await process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
async def raw(system: SystemUnderTest) -> AsyncIterator[redis.asyncio.Redis]:
    """Redis itself."""
    async with redis.asyncio.Redis.from_url(system.urls.redis) as client:
        yield client


async def write(system: SystemUnderTest, cart_id: str) -> None:
    """Say something personal, acknowledged by Kafka."""
    steps = [
        {
            "op": "add",
            "product_id": "mug",
            "quantity": 1,
            "unit_price": 100,
            "currency": "EUR",
            "options": {"engraving": SECRET},
        },
        {"op": "details", "shipping_address": {"name": SECRET, "country": "GB"}},
    ]
    async with http_client(system.urls.gateway) as client:
        reply = await client.patch(f"/v1/carts/{cart_id}", json={"operations": steps})
    assert reply.status_code == 200, reply.text


async def erase(system: SystemUnderTest, cart_id: str) -> None:
    """Erase the cart everywhere."""
    async with http_client(system.urls.gateway) as client:
        await erase_cart(client, cart_id)


async def in_redis(raw: redis.asyncio.Redis, cart_id: str) -> str:
    """All that Redis has of the cart, and of its partition's outbox."""
    keys = LAYOUT.of_cart(cart_id)
    outbox = LAYOUT.of_partition(keys.partition).outbox
    found: list[Any] = [await raw.hgetall(keys.cart), await raw.hgetall(keys.ops), await raw.xrange(outbox)]
    return repr(found)


async def dump(raw: redis.asyncio.Redis) -> dict[bytes, bytes]:
    """Every key, as a replica has it that stops to receive."""
    return {key: value async for key in raw.scan_iter() if (value := await raw.dump(key)) is not None}


async def fall_back(raw: redis.asyncio.Redis, keys: dict[bytes, bytes], cart_id: str) -> dict[bytes, bytes]:
    """Fail over to that replica; what it has of the cart, before anybody can mend it."""
    async with raw.pipeline(transaction=True) as pipeline:
        pipeline.flushall()
        for key, value in keys.items():
            pipeline.restore(key, 0, value)
        pipeline.hgetall(LAYOUT.of_cart(cart_id).cart)
        found: dict[bytes, bytes] = (await pipeline.execute())[-1]
    return found


async def is_empty(raw: redis.asyncio.Redis, stream: str | bytes) -> bool:
    return not await raw.xlen(stream)


async def is_clean(raw: redis.asyncio.Redis, cart_id: str) -> bool:
    """Whether Redis has the cart, and nothing personal of it."""
    return bool(await raw.exists(LAYOUT.of_cart(cart_id).cart)) and SECRET not in await in_redis(raw, cart_id)


async def test_nothing_brings_an_erased_cart_back(
    system: SystemUnderTest, jobs: AgentProcess, raw: redis.asyncio.Redis
) -> None:
    assert jobs.is_ready()
    cart_id = f"user:{uuid4().hex}"
    await write(system, cart_id)
    await until(lambda: system.row(cart_id), "row")
    key = cart_id.encode()
    # There may be more than one: its gateway sends it again if Kafka was slow to acknowledge it.
    sent = [record for record in await system.records(CART_CHANGED.name, cart_id) if record.key == key]
    change = sent[0]
    shared = LAYOUT.of_partition(LAYOUT.partition(cart_id))
    await until(partial(is_empty, raw, shared.outbox), "the change has left the outbox")
    replica = await dump(raw)

    await erase(system, cart_id)
    assert await is_clean(raw, cart_id)

    assert SECRET in repr(await fall_back(raw, replica, cart_id))
    # The replica had not heard that Kafka has the change: it is in its outbox, and is published again.
    op_id = dict(change.headers)["ce_id"].decode().rpartition("/")[2]
    size, (seconds, micros) = len(op_id) + len(cart_id) + len(change.value), await raw.time()
    now_ms = seconds * 1000 + micros // 1000
    async with raw.pipeline(transaction=True) as pipeline:  # a sweeper sees both or nothing
        pipeline.xadd(shared.outbox, {"op": op_id, "cart": cart_id, "e": change.value}, id=f"{now_ms}-0")
        pipeline.set(shared.backlog, f"{size} {now_ms}")
        await pipeline.execute()
    await until(lambda: is_clean(raw, cart_id), "the stale copy and its outbox gone")
    changes = [record for record in await system.records(CART_CHANGED.name, cart_id) if record.key == key]
    assert [record.value for record in changes].count(change.value) > len(sent)

    await system.add(cart_id, "marker")  # folded after the change that came again
    row = await system.row(cart_id)
    assert row is not None
    await raw.flushall()
    await until(lambda: is_clean(raw, cart_id), "restored without what was erased")

    async def shows_the_marker_only() -> bool:
        return await system.lines(cart_id) == {"marker": 1}

    await until(shows_the_marker_only, "the marker")
    newest = [record for record in await system.records(CARTS.name, cart_id) if record.key == key][-1]
    assert SECRET.encode() not in newest.value
    assert not await system.dead_letters(cart_id)
