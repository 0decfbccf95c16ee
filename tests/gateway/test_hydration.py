"""Carts that Redis lacks: Postgres knows, and no write starts from nothing because a copy timed out."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import redis.asyncio

from carts.fold import fold
from carts.lifetime import Lifetime
from carts.operations import Change, Expire
from carts.state import State
from gateway.metrics import Metrics
from gateway.postgres.hydration import DatabaseUnavailable, Hydration
from store.postgres import positions
from store.postgres.positions import Position
from store.postgres.session import Address
from store.redis import Missing, StoredCart
from tests.gateway.cart_client import CartClient
from tests.gateway.conftest import client_of
from tests.gateway.rows import born, insert, state_of
from tests.support.processes import GatewayProcess
from tests.support.servers import Urls
from tests.support.waiting import PATIENCE_S, until
from topics.codec import decode_change


def some_time_ago() -> int:
    return 2 * (time.time_ns() // 1000 - 3_600_000_000)


async def forget(carts: CartClient, cart_id: str) -> None:
    """Take the cart's keys out of Redis, as their TTL does."""
    async with redis.asyncio.Redis.from_url(carts.urls.redis) as raw:
        assert await raw.delete(*(key for key in carts.layout.of_cart(cart_id) if isinstance(key, bytes)))
    assert isinstance(await carts.store.read(cart_id), Missing)


async def test_a_cart_that_only_postgres_has_is_read_and_kept(carts: CartClient, cart_id: str) -> None:
    state = born(cart_id, some_time_ago(), quantity=3)
    await insert(carts.urls.postgres, cart_id, state)
    cart = await carts.read(cart_id)
    assert cart["version"] == state.version.tag()
    assert [line["quantity"] for line in cart["lines"]] == [3]
    assert isinstance(await carts.store.read(cart_id), StoredCart)


async def test_a_ttl_that_passed_between_two_adds_loses_no_line(carts: CartClient, cart_id: str) -> None:
    first = await carts.add(cart_id, "sku-1")
    await until(carts.outbox_is_empty, "outbox empty")
    record = await carts.topic.at(first.headers["cart-receipt"])
    await insert(carts.urls.postgres, cart_id, state_of([record.value]))
    await forget(carts, cart_id)

    second = await carts.add(cart_id, "sku-2")

    assert second.status_code == 200, second.text
    assert await carts.quantities(cart_id) == {"sku-1": 1, "sku-2": 1}
    published = await carts.topic.at(second.headers["cart-receipt"])
    assert state_of([record.value, published.value]).version.tag() == second.json()["version"]


async def test_a_retry_is_recognised_after_the_copy_in_redis_timed_out(
    carts: CartClient, cart_id: str
) -> None:
    first = await carts.add(cart_id, idempotency_key="k")
    record = await carts.topic.at(first.headers["cart-receipt"])
    await insert(carts.urls.postgres, cart_id, state_of([record.value]))
    await until(carts.outbox_is_empty, "outbox empty")
    await forget(carts, cart_id)

    retry = await carts.add(cart_id, idempotency_key="k")

    assert (retry.status_code, retry.headers["idempotency-replayed"]) == (200, "true")
    assert retry.json()["version"] == first.json()["version"]


async def test_an_expired_cart_reads_as_empty_and_lives_on_with_a_write(
    carts: CartClient, cart_id: str
) -> None:
    alive = born(cart_id, some_time_ago())
    expiry = Expire(
        seen=alive.version_number,
        seen_operation_count=alive.operation_count,
        at=alive.version_number // 2 + 60_000_000,
    )
    state = fold(
        alive, Change(cart_id=cart_id, version=alive.version_number + 2, op_id="!age", delta=(expiry,))
    ).state
    assert state is not None
    assert state.expired
    await insert(carts.urls.postgres, cart_id, state)
    cart = await carts.read(cart_id)
    assert (cart["status"], cart["lines"]) == ("expired", [])
    reply = await carts.add(cart_id, "sku-2")
    assert reply.status_code == 200, reply.text
    assert await carts.quantities(cart_id) == {"sku-2": 1}
    assert reply.json()["version"].split("-")[1] == str(state.operation_count + 1)


async def restored_on(carts: CartClient, partition: int, rows_position: int) -> None:
    """What the restore agent does, at rows that are this far in `carts`."""
    token = await carts.store.restore_begin(partition)
    await carts.store.restore_finish(
        partition, token, 0, 0, rows_position=rows_position, topic_id="of-the-test"
    )


async def rows_are_at(carts: CartClient, partition: int, position: int) -> None:
    """What the sink writes beside the rows."""
    async with await psycopg.AsyncConnection.connect(carts.urls.postgres, autocommit=True) as connection:
        await positions.begin(connection, [Position(partition, "of-the-test", position)])


async def test_a_row_behind_what_redis_was_restored_on_stands_for_nothing(
    carts: CartClient, cart_id: str
) -> None:
    partition = carts.layout.partition(cart_id)
    state = born(cart_id, some_time_ago(), quantity=3)
    await insert(carts.urls.postgres, cart_id, state)
    await rows_are_at(carts, partition, 9)
    await restored_on(carts, partition, 10)
    refused = await carts.add(cart_id)
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/database-unavailable")
    assert refused.headers["retry-after"]
    read = await carts.http.get(f"/v1/carts/{cart_id}")
    assert (read.status_code, read.headers["cart-freshness"]) == (200, "stale")
    unknown = await carts.http.get(f"/v1/carts/{same_partition(carts, cart_id)}")
    assert unknown.status_code == 503
    assert isinstance(await carts.store.read(cart_id), Missing)

    await rows_are_at(carts, partition, 10)
    reply = await carts.add(cart_id)
    assert reply.status_code == 200, reply.text
    assert await carts.quantities(cart_id) == {"sku-1": 4}


async def test_that_there_is_no_row_is_not_remembered_beyond_a_restoration(
    carts: CartClient, cart_id: str
) -> None:
    partition = carts.layout.partition(cart_id)
    assert await carts.quantities(cart_id) == {}
    await insert(carts.urls.postgres, cart_id, born(cart_id, some_time_ago(), quantity=3))
    await rows_are_at(carts, partition, 10)
    await restored_on(carts, partition, 10)
    assert await carts.quantities(cart_id) == {"sku-1": 3}


def same_partition(carts: CartClient, cart_id: str) -> str:
    """Another cart of the cart's partition."""
    names = (f"{cart_id}-{number}" for number in range(10_000))
    return next(name for name in names if carts.layout.partition(name) == carts.layout.partition(cart_id))


async def test_many_unknown_carts_at_once_are_all_found(carts: CartClient, cart_id: str) -> None:
    known = [f"{cart_id}-{n}" for n in range(0, 60, 2)]
    for found in known:
        await insert(carts.urls.postgres, found, born(found, some_time_ago(), quantity=2))
    read = await asyncio.gather(*(carts.quantities(f"{cart_id}-{n}") for n in range(60)))
    assert [quantities.get("sku-1", 0) for quantities in read] == [2, 0] * 30


async def test_durability_postgres_waits_for_the_row(carts: CartClient, cart_id: str) -> None:
    ends = await carts.topic.ends()
    adding = asyncio.create_task(carts.add(cart_id, prefer="durability=postgres; handling=strict"))

    async def record() -> bytes | None:
        return next((found.value for found in await carts.topic.since(ends) if found.key == cart_id), None)

    value = await until(record, "record published")
    assert value is not None
    assert not adding.done()
    await insert(carts.urls.postgres, cart_id, state_of([value]))
    reply = await adding
    assert reply.status_code == 200, reply.text
    assert reply.headers["preference-applied"] == "durability=postgres, handling=strict"
    assert f"{decode_change(value).version}-1-" in reply.json()["version"]


async def test_durability_postgres_without_a_sink_is_answered_honestly(
    breakable: Urls, start_gateway: Callable[..., GatewayProcess], cart_id: str
) -> None:
    # Each waits for the row as long as it may.
    gateway = start_gateway(CARTSTREAM_PUBLISH_WAIT_S="5", CARTSTREAM_REQUEST_DEADLINE_S="7")
    async with client_of(gateway, breakable) as carts:
        await until(carts.reaches_kafka, "the gateway reaches Kafka")
        lenient, strict = await asyncio.gather(
            carts.add(cart_id, prefer="durability=postgres"),
            carts.add(cart_id, prefer="durability=postgres, handling=strict"),
        )
    assert lenient.headers["preference-applied"] == "durability=kafka"
    assert (strict.status_code, strict.json()["type"]) == (503, "/problems/durability-not-reached")
    assert strict.headers["retry-after"]
    assert "durability=kafka" in strict.headers["preference-applied"]


async def test_a_row_that_cannot_be_read_keeps_nobody_waiting(urls: Urls, cart_id: str) -> None:
    unreadable, readable = f"{cart_id}-unreadable", f"{cart_id}-readable"
    for each in (unreadable, readable):
        await insert(urls.postgres, each, born(each, some_time_ago()))
    async with await psycopg.AsyncConnection.connect(urls.postgres, autocommit=True) as connection:
        await connection.execute("UPDATE carts SET state = '[]' WHERE cart_id = %s", (unreadable,))
    hydration = Hydration(Address(urls.postgres), 1, 1.0, 1, Lifetime(), lambda _: 0, Metrics())
    await hydration.open()
    await hydration.until_connected(PATIENCE_S)
    try:
        # All in one query.
        asked = [hydration.find(each) for each in (unreadable, readable, f"{cart_id}-nowhere")]
        refused, *found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)
    finally:
        await hydration.close()
    assert isinstance(refused, DatabaseUnavailable)
    assert isinstance(found[0], State)
    assert found == [born(readable, found[0].version_number), None]
