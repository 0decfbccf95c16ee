"""Idle carts expire, expired ones are purged, and neither takes anything from a shopper who comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.jobs.conftest import Shop
from tests.support.waiting import until
from topics.codec import decode_purge_floor
from topics.headers import version_header
from topics.partitioner import partition_of
from topics.records import purge_floor_key
from topics.registry import CARTS, PARTITIONS


@asynccontextmanager
async def redis_left_behind(shop: Shop) -> AsyncIterator[None]:
    """What `carts` says does not reach Redis meanwhile."""
    sink = shop.stack.component("sink-redis")
    await asyncio.to_thread(sink.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(sink.resume)


async def test_an_idle_cart_expires_everywhere_and_a_write_revives_it_empty(shop: Shop) -> None:
    cart_id = await shop.old_cart(days=8)
    young = await shop.old_cart(days=6)
    assert await shop.lines(cart_id) == {"old": 2}

    await shop.age()

    expired = await shop.has_status(cart_id, "expired")

    async def is_empty() -> bool:
        return await shop.lines(cart_id) == {}

    await until(is_empty, "read empty")
    revived = await shop.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in revived["lines"]} == {"new": 1}
    assert int(revived["version"].split("-")[0]) > expired.v
    row = await shop.has_status(cart_id, "active")
    assert (row.v, row.n) == tuple(int(part) for part in revived["version"].split("-")[:2])
    assert await shop.lines(cart_id) == {"new": 1}
    assert await shop.lines(young) == {"old": 2}


async def test_guest_carts_have_an_idle_limit_of_their_own(shop: Shop) -> None:
    guest, user = await shop.old_cart(days=2, kind="guest"), await shop.old_cart(days=2)
    shop.settings = shop.settings.model_copy(update={"guest_idle_limit_s": 86_400})
    await shop.age()
    await shop.has_status(guest, "expired")
    await shop.has_status(user, "active")


async def test_a_write_that_races_its_expiry_is_not_lost_and_takes_it_back(shop: Shop) -> None:
    cart_id = await shop.old_cart(days=8)
    async with redis_left_behind(shop):
        assert await shop.lines(cart_id) == {"old": 2}
        await shop.age()
        await shop.has_status(cart_id, "expired")
        written = await shop.add(cart_id)  # on the copy that knows of no expiry
        assert {line["line_id"] for line in written["lines"]} == {"old", "new"}
        await shop.has_status(cart_id, "active")
    assert await shop.lines(cart_id) == {"old": 2, "new": 1}
    await shop.age()
    later = await shop.old_cart(days=8)  # folded after whatever the round has published
    await shop.age()
    await shop.has_status(later, "expired")
    assert await shop.lines(cart_id) == {"old": 2, "new": 1}


async def test_rows_that_are_behind_expire_and_purge_nothing(shop: Shop) -> None:
    cart_id = await shop.old_cart(days=8)
    sink = shop.stack.component("sink-postgres")
    await asyncio.to_thread(sink.pause)
    try:
        await shop.add(cart_id)
        await shop.age()  # by the row of before
        await shop.age(days_ago=-40)  # two clocks: one that is ahead counts for nothing
    finally:
        await asyncio.to_thread(sink.resume)
    other = await shop.old_cart(days=8)
    await shop.age()
    await shop.has_status(other, "expired")
    assert (await shop.has_status(cart_id, "active")).n == 2
    assert await shop.lines(cart_id) == {"old": 2, "new": 1}


async def test_a_cart_expired_for_long_is_purged_everywhere_and_stays_so(shop: Shop) -> None:
    cart_id = await shop.old_cart(days=40)
    partition = partition_of(cart_id.encode(), PARTITIONS)
    assert (await shop.read(cart_id))["lines"] == []  # too old to count, before any purge
    async with redis_left_behind(shop):
        await shop.age(days_ago=31)
        expired = await shop.has_status(cart_id, "expired")
        await shop.age()

        async def row_is_gone() -> bool:
            return await shop.row(cart_id) is None

        await until(row_is_gone, "row gone")

    records = await shop.records(CARTS.name, cart_id)
    (null,) = [record for record in records if record.key == cart_id.encode() and record.value is None]
    version = version_header(null.headers)
    assert version is not None
    assert (version.number, version.operation_count) == (expired.v, expired.n)
    floors = [record for record in records if record.key == purge_floor_key(partition)]
    assert floors[-1].offset < null.offset
    assert decode_purge_floor(floors[-1].value).purge_floor >= expired.v

    async def copy_is_gone() -> bool:
        return not await shop.in_redis(cart_id)

    await until(copy_is_gone, "copy in Redis gone")
    await shop.publish(shop.change(cart_id, days=39))  # a late one of the purged cart

    async def is_dead_letter() -> bool:
        return bool(await shop.dead_letters(cart_id))

    await until(is_dead_letter, "dead letter")
    (letter,) = await shop.dead_letters(cart_id)
    assert dict(letter.headers)["dlq_error_code"] == b"below_purge_floor"
    assert await shop.row(cart_id) is None

    born_again = await shop.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in born_again["lines"]} == {"new": 1}
    assert (await shop.has_status(cart_id, "active")).n == 1
    assert await shop.lines(cart_id) == {"new": 1}


async def test_a_write_on_a_cart_too_old_to_count_does_not_bring_its_lines_back(shop: Shop) -> None:
    cart_id = await shop.old_cart(days=40)
    await shop.age(days_ago=31)  # and the purge is late
    await shop.has_status(cart_id, "expired")
    written = await shop.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in written["lines"]} == {"new": 1}
    await shop.has_status(cart_id, "active")

    async def redis_has_the_fold() -> bool:
        row = await shop.row(cart_id)
        version = [int(part) for part in (await shop.read(cart_id))["version"].split("-")[:2]]
        return row is not None and version == [row.v, row.n]

    await until(redis_has_the_fold, "Redis equal to the row")
    assert await shop.lines(cart_id) == {"new": 1}
