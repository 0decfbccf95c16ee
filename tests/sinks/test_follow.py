"""A Redis that is complete stays current, and one that falls back catches up."""

import time

import pytest

from carts.state import Status, trim_idle
from store.redis import StoredCart
from tests.sinks.cart_records import START, TopicWriter, cart_in, expire, grow, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT, CartWriter, Redis, running_agent
from tests.support.waiting import until


async def followed_beyond(redis: Redis, cart_id: str, offset: int) -> None:
    """Wait until the partition of the cart has followed past an offset."""

    async def beyond() -> bool:
        return (await redis.store.followed(LAYOUT.partition(cart_id)) or 0) > offset

    await until(beyond, f"followed beyond {offset}")


async def knows(redis: Redis, cart_id: str, operations: int) -> None:
    """Wait until Redis's copy of the cart has this many operations."""

    async def there() -> bool:
        return await redis.n(cart_id) == operations

    await until(there, f"{operations} operations in Redis")


@pytest.mark.usefixtures("agent")
async def test_a_state_that_redis_lacks_is_put(redis: Redis, topics: TopicWriter) -> None:
    cart_id = new_cart_id()
    await topics.state(cart_id, grow(cart_id, 2))
    await knows(redis, cart_id, 2)
    await topics.state(cart_id, grow(cart_id, 3))
    await knows(redis, cart_id, 3)


@pytest.mark.usefixtures("agent")
async def test_a_state_never_hides_an_operation_that_it_does_not_cover(
    redis: Redis, writer: CartWriter
) -> None:
    cart_id = new_cart_id()
    published = await writer.add(cart_id)
    unpublished = await writer.write(cart_id)
    before = await redis.keys_of(cart_id)
    await writer.fold(published)
    other = cart_in(LAYOUT.partition(cart_id))
    await followed_beyond(redis, cart_id, await writer.fold(await writer.add(other)))
    assert await redis.keys_of(cart_id) == before
    await followed_beyond(redis, cart_id, await writer.fold(unpublished))
    assert await redis.n(cart_id) == 2
    assert await redis.keys_of(cart_id) == before


@pytest.mark.usefixtures("agent")
async def test_an_expired_cart_is_empty_and_a_deleted_one_leaves(redis: Redis, topics: TopicWriter) -> None:
    expired, deleted = new_cart_id(), new_cart_id()
    for cart_id in (expired, deleted):
        await topics.state(cart_id, grow(cart_id, 2))
        await knows(redis, cart_id, 2)
    await topics.state(expired, expire(expired, grow(expired, 2)))
    await topics.null(deleted, grow(deleted, 2).version)
    await knows(redis, deleted, 0)

    async def is_expired() -> bool:
        copy = await redis.store.read(expired)
        return isinstance(copy, StoredCart) and copy.status is Status.EXPIRED and not copy.view().lines

    await until(is_expired, "the copy has expired")


@pytest.mark.usefixtures("agent")
async def test_a_trimmed_state_is_followed_although_its_version_is_known(
    redis: Redis, topics: TopicWriter
) -> None:
    cart_id = new_cart_id()
    left = grow(cart_id, 3, first=START - 2 * 3_600_000_000)
    await topics.state(cart_id, left)
    await knows(redis, cart_id, 3)
    trimmed = trim_idle(left, time.time_ns() // 1000)
    assert trimmed.version == left.version
    await topics.state(cart_id, trimmed)

    async def has_no_window() -> bool:
        return not await redis.client.execute("EXISTS", LAYOUT.of_cart(cart_id).win)

    await until(has_no_window, "the copy is trimmed")


@pytest.mark.usefixtures("agent")
async def test_a_redis_rolled_back_to_an_older_snapshot_reads_again_from_its_own_position(
    redis: Redis, topics: TopicWriter
) -> None:
    quiet, busy = new_cart_id(), new_cart_id()
    await topics.state(quiet, grow(quiet, 1))
    await knows(redis, quiet, 1)
    old = await redis.snapshot()
    for cart_id in (quiet, busy):
        await topics.state(cart_id, grow(cart_id, 4))
        await knows(redis, cart_id, 4)
    await redis.roll_back(old)
    # Nothing is written any more: only the position in Redis can tell.
    await knows(redis, quiet, 4)
    await knows(redis, busy, 4)


@pytest.mark.usefixtures("agent")
async def test_a_long_backlog_of_several_partitions_is_followed_whole(
    redis: Redis, topics: TopicWriter
) -> None:
    old = await redis.snapshot()
    carts = {cart_id: grow(cart_id, 1) for p in range(3) for cart_id in (cart_in(p) for _ in range(2000))}
    await topics.states(carts)
    # Some were followed as they were written; from the older position all come at once.
    await redis.roll_back(old)
    for partition in range(3):
        last = [cart_id for cart_id in carts if LAYOUT.partition(cart_id) == partition][-1]
        await knows(redis, last, 1)
    known = [await redis.n(cart_id) for cart_id in carts]
    assert known.count(1) == len(carts)


async def test_two_agents_share_the_partitions_and_one_takes_over_from_the_other(
    redis: Redis, topics: TopicWriter
) -> None:
    async with running_agent(redis.settings):
        async with running_agent(redis.settings):
            carts = [new_cart_id() for _ in range(40)]
            await topics.states({cart_id: grow(cart_id, 1) for cart_id in carts})
            for cart_id in carts:
                await knows(redis, cart_id, 1)
        await topics.states({cart_id: grow(cart_id, 2) for cart_id in carts})
        for cart_id in carts:
            await knows(redis, cart_id, 2)
