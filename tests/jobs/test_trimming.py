"""An idle cart with a large window is trimmed once, everywhere, and nobody who reads it can tell."""

from typing import Any, NamedTuple

import redis.asyncio

from carts.operations import Change, Trim
from jobs.trimming import Trimming, is_due
from store.postgres.carts import RowAge
from store.redis import Layout
from tests.jobs.conftest import SystemUnderTest
from tests.support.http import http_client
from tests.support.live_streams import StreamReader
from tests.support.waiting import until
from topics.codec import decode_change
from topics.registry import CART_CHANGED, PARTITIONS

HOUR_US = 3600 * 1_000_000
OPERATIONS = 30


class Size(NamedTuple):
    """What a cart takes: of its row the state, and its window; the keys of its window in Redis."""

    state: int
    window: int
    redis_keys: int


async def size_of(system: SystemUnderTest, cart_id: str) -> Size:
    """The cart's size in both stores."""
    async with await system.database() as connection:
        cursor = await connection.execute(
            "SELECT octet_length(state::text), window_bytes FROM carts WHERE cart_id = %s", (cart_id,)
        )
        state, window = await cursor.fetchone() or (0, 0)
    keys = Layout(PARTITIONS).of_cart(cart_id)
    async with redis.asyncio.Redis.from_url(system.urls.redis) as client:
        return Size(state, window, await client.exists(keys.ops, keys.win))


async def trims_of(system: SystemUnderTest, cart_id: str) -> list[Change]:
    """The trims of the cart in `cart-changed`."""
    changes = [decode_change(record.value) for record in await system.records(CART_CHANGED.name, cart_id)]
    return [each for each in changes if each.cart_id == cart_id and isinstance(each.delta[0], Trim)]


async def grown_cart(system: SystemUnderTest) -> str:
    """A cart that was changed often two hours ago, known everywhere."""
    cart_id = await system.old_cart(days=2.1 / 24)
    changes = [system.change(cart_id, days=2 / 24 - each / 1e6) for each in range(OPERATIONS)]
    await system.publish(*changes)

    async def is_there() -> bool:
        row = await system.row(cart_id)
        async with redis.asyncio.Redis.from_url(system.urls.redis) as client:
            head = await client.hget(Layout(PARTITIONS).of_cart(cart_id).cart, "m")
        if row is None or head is None:
            return False
        _version, operations, *_ = head.split()
        return row.n == int(operations) == OPERATIONS + 1

    await until(is_there, "all operations in the row and in Redis")
    return cart_id


async def test_an_idle_cart_gets_small_everywhere_and_stays_the_same(system: SystemUnderTest) -> None:
    cart_id = await grown_cart(system)
    async with http_client(system.urls.gateway) as client:
        before = await client.get(f"/v1/carts/{cart_id}")
        row_before = await system.row(cart_id)
        size = await size_of(system, cart_id)
        assert (size.window > 4096, size.redis_keys) == (True, 2)
        async with client.stream("GET", f"/v1/carts/{cart_id}/stream") as reply:
            reader = StreamReader(reply)
            assert (await reader.next()).data["version"] == before.json()["version"]

            await system.age()

            async def is_small() -> bool:
                small = await size_of(system, cart_id)
                return (small.window, small.redis_keys) == (0, 0)

            await until(is_small, "cart trimmed")
            after = await client.get(
                f"/v1/carts/{cart_id}", headers={"if-none-match": before.headers["etag"]}
            )
            assert after.status_code == 304
            assert (await client.get(f"/v1/carts/{cart_id}")).json() == before.json()
            assert await system.row(cart_id) == row_before
            assert (await size_of(system, cart_id)).state < size.state / 4

            await system.age()
            assert len(await trims_of(system, cart_id)) == 1

            written = await client.patch(
                f"/v1/carts/{cart_id}/items/old",
                json={"quantity": 5},
                headers={"if-match": before.headers["etag"]},
            )
            assert written.status_code == 200, written.text
            event = await reader.next()  # the trim itself was none
            assert event.data["version"] == written.json()["version"]
    assert await system.lines(cart_id) == {"old": 5}


def age(system: SystemUnderTest, **changed: Any) -> RowAge:
    """The row of a cart that is due, but for what is changed."""
    row = RowAge("user:1", 2 * HOUR_US, 9, "active", system.settings.trim_window_bytes, None)
    return row._replace(**changed)


async def test_only_idle_carts_with_large_windows_are_due(system: SystemUnderTest) -> None:
    now_us = 2 * HOUR_US + 1
    assert is_due(age(system), now_us, system.settings)
    assert not is_due(age(system), now_us - 2, system.settings)
    assert not is_due(age(system, window_bytes=4095), now_us, system.settings)
    for status in ("expired", "claimed", "merged"):
        assert not is_due(age(system, status=status), now_us, system.settings)
    off = system.settings.model_copy(update={"trim_window_bytes": 0})
    assert not is_due(age(system), now_us, off)


async def test_a_partition_with_a_backlog_trims_nothing(system: SystemUnderTest) -> None:
    async with redis.asyncio.Redis.from_url(system.urls.redis) as client:
        stuck = Layout(PARTITIONS).partition("user:1")
        backlog = Layout(PARTITIONS).of_partition(stuck).backlog
        await client.set(backlog, "10 1000")
        try:
            async with Trimming(system.settings) as trimming:
                now_us = 2 * HOUR_US + 1
                assert await trimming.commands([age(system)], now_us) == []
                free = next(
                    name
                    for name in map("user:{}".format, range(2, 99))
                    if Layout(PARTITIONS).partition(name) != stuck
                )
                (change,) = await trimming.commands([age(system, cart_id=free)], now_us)
        finally:
            await client.delete(backlog)
    (step,) = change.delta
    assert isinstance(step, Trim)
    assert step.at > now_us
