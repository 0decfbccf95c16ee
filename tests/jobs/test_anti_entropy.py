"""What a bug downstream has lost is found in Redis and brought back, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from carts.fold import fold
from carts.limits import TIMING
from carts.operations import Add, Change, Item
from runtime.clock import clock_us
from store.redis import (
    Applied,
    CartStore,
    ChangeRequest,
    Layout,
    PendingCompaction,
    PipelinedClient,
    RedisSettings,
)
from tests.jobs.conftest import SystemUnderTest
from tests.support.absent_carts import absence_of
from tests.support.copies import put_copies
from tests.support.waiting import until
from topics.codec import decode_change
from topics.registry import CART_CHANGED, PARTITIONS

LAYOUT = Layout(PARTITIONS)
SOCK = Add("sock", 1, 500, "EUR", Item("sock"))


@asynccontextmanager
async def redis_of(system: SystemUnderTest) -> AsyncIterator[PipelinedClient]:
    """Redis, for what the gateway would never do."""
    async with PipelinedClient(RedisSettings(redis_url=system.urls.redis)) as client:
        yield client


async def change(store: CartStore, cart_id: str) -> Applied:
    """A piece more in Redis; nothing is published."""
    answer = await store.change(
        ChangeRequest(
            cart_id=cart_id,
            op_id=uuid4().hex,
            fingerprint="f",
            steps=(SOCK,),
            first_seen_us=clock_us(),
            absence=await absence_of(store, cart_id),
        )
    )
    assert isinstance(answer, Applied)
    return answer


async def changes_of(system: SystemUnderTest, cart_id: str) -> list[Change]:
    """What stands in `cart-changed` of the cart."""
    records = await system.records(CART_CHANGED.name, cart_id)
    return [decode_change(record.value) for record in records if record.key == cart_id.encode()]


async def acknowledged_of(system: SystemUnderTest, cart_id: str) -> list[Change]:
    """What gateways have published of the cart, each change once, in the order of versions."""
    changes = [change for change in await changes_of(system, cart_id) if change.cause != "anti-entropy"]
    return sorted({each.op_id: each for each in changes}.values(), key=lambda each: each.version)


async def is_folded(system: SystemUnderTest, cart_id: str, n: int) -> None:
    """Wait until the row has n operations."""

    async def there() -> bool:
        row = await system.row(cart_id)
        return row is not None and row.n == n

    await until(there, f"{n} operations in Postgres")


async def is_off_the_account(system: SystemUnderTest, cart_id: str) -> None:
    """Wait until nothing of the cart is looked for any more."""
    async with redis_of(system) as client:
        account = PendingCompaction(client, LAYOUT)

        async def gone() -> bool:
            return cart_id not in await account.before(LAYOUT.partition(cart_id), 2**53, 1000)

        await until(gone, "off the account")


async def test_a_change_that_left_the_outbox_unpublished_is_healed(system: SystemUnderTest) -> None:
    async with redis_of(system) as client:
        store = CartStore(client, LAYOUT)

        async def unpublished() -> tuple[str, Applied] | None:
            cart_id = f"user:{uuid4().hex}"
            first = await change(store, cart_id)
            entry = first.entry.id, decode_change(first.entry.event).op_id
            # Nothing is left to remove where a sweeper was faster.
            return (cart_id, first) if await store.outbox_remove(first.partition, [entry]) else None

        found = await until(unpublished, "a change that nobody has published")
    assert found is not None
    cart_id, first = found
    await is_folded(system, cart_id, 1)
    await is_off_the_account(system, cart_id)
    (healed,) = await changes_of(system, cart_id)
    assert (healed.version, healed.delta, healed.cause) == (first.operation_version, (SOCK,), "anti-entropy")
    assert await system.lines(cart_id) == {"sock": 1}


async def test_a_change_that_compaction_has_overlooked_is_healed(system: SystemUnderTest) -> None:
    cart_id = f"user:{uuid4().hex}"
    await asyncio.to_thread(system.mutate, "compaction", "the_fold_overlooks_some_once")
    try:
        await system.add(cart_id)
        await system.add(cart_id, key=f"{uuid4().hex}7")
        await system.add(cart_id)
        await is_folded(system, cart_id, 3)
        await is_off_the_account(system, cart_id)
    finally:
        await asyncio.to_thread(system.mutate, "compaction", None)
    healed = [change for change in await changes_of(system, cart_id) if change.cause == "anti-entropy"]
    # A change may stand there more than once: its gateway sends it again if Kafka was slow to acknowledge it.
    first, overlooked, last = await acknowledged_of(system, cart_id)
    # A follower that has begun anew since does not know which ones: then others of the cart come again, too.
    assert overlooked.op_id in {each.op_id for each in healed}
    known = [(each.version, each.op_id, each.delta) for each in (first, overlooked, last)]
    assert all((each.version, each.op_id, each.delta) in known for each in healed)
    assert overlooked.op_id.endswith("7")
    assert first.version < overlooked.version < last.version
    assert await system.lines(cart_id) == {"new": 3}


async def test_a_change_that_is_overlooked_every_time_is_published_again_only_once(
    system: SystemUnderTest,
) -> None:
    cart_id = f"user:{uuid4().hex}"
    await asyncio.to_thread(system.mutate, "compaction", "the_fold_forgets_some")
    try:
        await system.add(cart_id)
        await system.add(cart_id, key=f"{uuid4().hex}7")
        await is_off_the_account(system, cart_id)
        healed = [change for change in await changes_of(system, cart_id) if change.cause == "anti-entropy"]
        assert len(healed) == len({each.op_id for each in healed})
        assert "anti_entropy.in_vain" in system.log_of("sink-redis")
    finally:
        await asyncio.to_thread(system.mutate, "compaction", None)


async def test_what_is_only_late_is_not_published_again(system: SystemUnderTest) -> None:
    cart_id = f"user:{uuid4().hex}"
    partition = LAYOUT.partition(cart_id)
    compaction = system.stack.component("compaction")
    await asyncio.to_thread(compaction.stop)
    try:
        for _ in range(3):
            await system.add(cart_id)
        async with redis_of(system) as client:
            account = PendingCompaction(client, LAYOUT)

            async def is_a_suspect() -> bool:
                before = 2 * (await account.time_us(partition) - 4_000_000)
                return cart_id in await account.before(partition, before, 1000)

            await until(is_a_suspect, "suspected for several looks")
    finally:
        await asyncio.to_thread(compaction.start)
    await is_folded(system, cart_id, 3)
    await is_off_the_account(system, cart_id)
    assert {change.cause for change in await changes_of(system, cart_id)}.isdisjoint({"anti-entropy"})
    assert await system.lines(cart_id) == {"new": 3}


async def test_a_lost_change_that_is_too_old_is_told_and_left_alone(system: SystemUnderTest) -> None:
    cart_id = f"user:{uuid4().hex}"
    v = 2 * (clock_us() - TIMING.window_us + TIMING.retry_horizon_us)
    old = Change(cart_id=cart_id, version=v, op_id="old", delta=(SOCK,), born=v)
    state = fold(None, old).state
    assert state is not None
    async with redis_of(system) as client:
        partition = LAYOUT.partition(cart_id)
        await put_copies(CartStore(client, LAYOUT), partition, [(cart_id, state)])
        await client.execute("ZADD", LAYOUT.of_partition(partition).pending_compaction, v, cart_id)
    await is_off_the_account(system, cart_id)
    assert await changes_of(system, cart_id) == []
    log = system.log_of("sink-redis")
    assert "anti_entropy.cannot_heal" in log
    assert "too_old" in log


async def test_a_cart_written_all_the_time_is_never_published_again(system: SystemUnderTest) -> None:
    cart_id = f"user:{uuid4().hex}"
    writes = 200
    for _ in range(writes):
        await system.add(cart_id)
    await is_folded(system, cart_id, writes)
    await is_off_the_account(system, cart_id)
    assert {change.cause for change in await changes_of(system, cart_id)}.isdisjoint({"anti-entropy"})
