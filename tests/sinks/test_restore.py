"""Redis is lost in every way, and comes back with everything that was acknowledged."""

import asyncio
from functools import partial
from typing import Any

import pytest

from carts.lifetime import Lifetime
from carts.state import Status
from sinks.errors import RestoreStartsOver
from sinks.redis.restore import Restorer
from store.redis import CartStore, StoredCart
from tests.sinks.cart_records import TopicWriter, add, cart_in, expire, grow, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT, CartWriter, Redis
from tests.support.waiting import until

WEEK_S = 7 * 86_400


def restorer(redis: Redis, store: CartStore | None = None) -> Restorer:
    return Restorer(store or redis.store, LAYOUT, redis.settings, Lifetime(idle_s=WEEK_S))


@pytest.mark.usefixtures("agent")
async def test_after_flushall_every_cart_is_there_byte_for_byte(redis: Redis, writer: CartWriter) -> None:
    carts = [new_cart_id() for _ in range(20)]
    for number, cart_id in enumerate(carts):
        for _ in range(1 + number % 4):
            await writer.fold(await writer.add(cart_id))
    before = {cart_id: await redis.keys_of(cart_id) for cart_id in carts}
    await redis.wipe()
    assert {cart_id: await redis.keys_of(cart_id) for cart_id in carts} == before
    for cart_id in carts:
        assert await redis.n(cart_id) == writer.states[cart_id].operation_count


@pytest.mark.usefixtures("agent")
async def test_changes_that_compaction_has_not_folded_are_restored(redis: Redis, writer: CartWriter) -> None:
    half_folded, never_folded = new_cart_id(), new_cart_id()
    await writer.fold(await writer.add(half_folded))
    for cart_id in (half_folded, never_folded, half_folded):
        await writer.add(cart_id)
    before = [await redis.keys_of(cart_id) for cart_id in (half_folded, never_folded)]
    await redis.wipe()
    assert [await redis.keys_of(cart_id) for cart_id in (half_folded, never_folded)] == before


@pytest.mark.usefixtures("agent")
async def test_writers_that_go_on_while_redis_is_wiped_lose_nothing(redis: Redis, writer: CartWriter) -> None:
    carts = [new_cart_id() for _ in range(6)]
    acknowledged = dict.fromkeys(carts, 0)
    stop = asyncio.Event()

    async def write(cart_id: str) -> None:
        while not stop.is_set():
            change = await writer.add(cart_id)
            acknowledged[cart_id] += 1
            await writer.fold(change)

    async with asyncio.TaskGroup() as group:
        for cart_id in carts:
            group.create_task(write(cart_id))
        for target in (5, 15):
            await until(partial(_all_above, acknowledged, target), f"{target} writes a cart")
            await redis.wipe()
        await until(partial(_all_above, acknowledged, 20), "20 writes a cart")
        stop.set()

    async def settled() -> bool:
        return {cart_id: await redis.n(cart_id) for cart_id in carts} == acknowledged

    await until(settled, "every acknowledged add in Redis, once")


async def test_flushall_midway_starts_over(redis: Redis, topics: TopicWriter) -> None:
    carts = [cart_in(3) for _ in range(450)]
    await topics.states({cart_id: grow(cart_id, 1) for cart_id in carts})

    class Wiped(CartStore):
        wiped = False

        async def restore_put(
            self, partition: int, token: str, sequence: int, states: Any, row_from: int = 0
        ) -> Any:
            if sequence > 1 and not self.wiped:
                self.wiped = True
                await redis.client.execute("FLUSHALL")
            return await super().restore_put(partition, token, sequence, states, row_from)

    store = Wiped(redis.client, LAYOUT)
    with pytest.raises(RestoreStartsOver):
        await restorer(redis, store).restore(3)
    assert await redis.store.ready_partitions() == set()
    await restorer(redis, store).restore(3)
    assert await redis.store.ready_partitions() == {3}
    assert [await redis.n(cart_id) for cart_id in carts] == [1] * len(carts)


async def test_of_two_restorations_at_once_the_later_one_ends_the_earlier(redis: Redis) -> None:
    class Overtaken(CartStore):
        async def restore_finish(self, partition: int, *arguments: Any, **options: Any) -> Any:
            await redis.store.restore_begin(partition)
            return await super().restore_finish(partition, *arguments, **options)

    with pytest.raises(RestoreStartsOver):
        await restorer(redis, Overtaken(redis.client, LAYOUT)).restore(4)
    assert await redis.store.ready_partitions() == set()


@pytest.mark.usefixtures("agent")
async def test_a_restore_never_hides_an_operation_that_only_redis_has(
    redis: Redis, writer: CartWriter
) -> None:
    cart_id = new_cart_id()
    await writer.fold(await writer.add(cart_id))
    await writer.write(cart_id)
    before = await redis.keys_of(cart_id)
    await redis.client.execute("DEL", LAYOUT.of_partition(LAYOUT.partition(cart_id)).ready)
    await redis.become_ready()
    assert await redis.keys_of(cart_id) == before


async def test_expired_stale_and_deleted_carts_stay_away(redis: Redis, topics: TopicWriter) -> None:
    expired, deleted, stale, alive = (cart_in(5) for _ in range(4))
    await topics.states({cart_id: grow(cart_id, 2) for cart_id in (expired, deleted, alive)})
    await topics.state(expired, expire(expired, grow(expired, 2)))
    await topics.null(deleted, grow(deleted, 2).version)
    long_ago = 2 * 1_000_000 * (WEEK_S // 2)  # in 1970
    await topics.state(stale, grow(stale, 2, first=long_ago))
    await restorer(redis).restore(5)
    assert [await redis.n(cart_id) for cart_id in (deleted, stale, alive)] == [0, 0, 2]
    copy = await redis.store.read(expired)
    assert isinstance(copy, StoredCart)
    assert (copy.status, copy.view().lines) == (Status.EXPIRED, [])


async def test_a_late_change_of_a_purged_cart_stays_away_though_its_tombstone_is_gone(
    redis: Redis, topics: TopicWriter
) -> None:
    purged, born_since = cart_in(5), cart_in(5)
    long_ago = 2 * 1_000_000 * (WEEK_S // 2)  # in 1970
    late = add(purged, 1, first=long_ago)
    await topics.purge_floor(5, late.version)
    await topics.change(late)
    await topics.change(add(born_since, 1))
    await restorer(redis).restore(5)
    assert [await redis.n(cart_id) for cart_id in (purged, born_since)] == [0, 1]


async def test_the_highest_state_is_restored_though_a_lower_one_was_written_last(
    redis: Redis, topics: TopicWriter
) -> None:
    cart_id = cart_in(6)
    for operations in (1, 3, 2):
        await topics.state(cart_id, grow(cart_id, operations))
    await restorer(redis).restore(6)
    assert await redis.n(cart_id) == 3


async def test_records_that_nobody_can_read_stop_nothing(redis: Redis, topics: TopicWriter) -> None:
    before, poison, after = (cart_in(7) for _ in range(3))
    await topics.state(before, grow(before, 1))
    await topics.raw(poison, b"not JSON")
    await topics.change(add(after, 1))
    await topics.state(after, grow(after, 2))
    await restorer(redis).restore(7)
    assert [await redis.n(cart_id) for cart_id in (before, poison, after)] == [1, 0, 2]


@pytest.mark.usefixtures("agent")
async def test_an_empty_redis_becomes_ready(redis: Redis) -> None:
    assert await redis.all_ready()


async def _all_above(counts: dict[str, int], target: int) -> bool:
    return min(counts.values()) > target
