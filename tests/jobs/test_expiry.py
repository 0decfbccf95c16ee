"""Idle carts expire, expired ones are purged, and neither takes anything from a shopper who comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from jobs.expiry import ExpiryJob
from jobs.settings import JobsSettings
from store.postgres.carts import RowAge
from tests.jobs.conftest import SystemUnderTest
from tests.support.waiting import until
from topics.codec import decode_purge_floor
from topics.headers import version_header
from topics.registry import CARTS, PURGE_FLOORS


@asynccontextmanager
async def redis_left_behind(system: SystemUnderTest) -> AsyncIterator[None]:
    """What `carts` says does not reach Redis meanwhile; what it holds is complete."""
    sink = system.stack.component("sink-redis")
    await until(system.redis_is_complete, "every partition restored")
    await asyncio.to_thread(sink.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(sink.resume)


async def test_an_idle_cart_expires_everywhere_and_a_write_revives_it_empty(system: SystemUnderTest) -> None:
    cart_id = await system.old_cart(days=8)
    young = await system.old_cart(days=6)
    assert await system.lines(cart_id) == {"old": 2}

    await system.age()

    expired = await system.has_status(cart_id, "expired")

    async def is_empty() -> bool:
        return await system.lines(cart_id) == {}

    await until(is_empty, "read empty")
    revived = await system.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in revived["lines"]} == {"new": 1}
    assert int(revived["version"].split("-")[0]) > expired.v
    row = await system.has_status(cart_id, "active")
    assert (row.v, row.n) == tuple(int(part) for part in revived["version"].split("-")[:2])
    assert await system.lines(cart_id) == {"new": 1}
    assert await system.lines(young) == {"old": 2}


async def test_guest_carts_have_an_idle_limit_of_their_own(system: SystemUnderTest) -> None:
    guest, user = await system.old_cart(days=2, kind="guest"), await system.old_cart(days=2)
    system.settings = system.settings.model_copy(update={"guest_idle_limit_s": 86_400})
    await system.age()
    await system.has_status(guest, "expired")
    await system.has_status(user, "active")


async def test_a_write_that_races_its_expiry_is_not_lost_and_takes_it_back(system: SystemUnderTest) -> None:
    cart_id = await system.old_cart(days=8)
    async with redis_left_behind(system):
        assert await system.lines(cart_id) == {"old": 2}
        await system.age()
        await system.has_status(cart_id, "expired")
        written = await system.add(cart_id)  # on the copy that knows of no expiry
        assert {line["line_id"] for line in written["lines"]} == {"old", "new"}
        await system.has_status(cart_id, "active")
    assert await system.lines(cart_id) == {"old": 2, "new": 1}
    await system.age()
    later = await system.old_cart(days=8)  # folded after whatever the round has published
    await system.age()
    await system.has_status(later, "expired")
    assert await system.lines(cart_id) == {"old": 2, "new": 1}


async def test_rows_that_are_behind_expire_and_purge_nothing(system: SystemUnderTest) -> None:
    cart_id = await system.old_cart(days=8)
    sink = system.stack.component("sink-postgres")
    await asyncio.to_thread(sink.pause)
    try:
        await system.add(cart_id)
        await system.age()  # by the row of before
        await system.age(days_ago=-40)  # two clocks: one that is ahead counts for nothing
    finally:
        await asyncio.to_thread(sink.resume)
    other = await system.old_cart(days=8)
    await system.age()
    await system.has_status(other, "expired")

    async def is_written() -> bool:
        row = await system.row(cart_id)
        return row is not None and row.n == 2

    # That of another partition may be written first.
    await until(is_written, "the add in the row")
    assert (await system.has_status(cart_id, "active")).n == 2
    assert await system.lines(cart_id) == {"old": 2, "new": 1}


async def test_a_cart_expired_for_long_is_purged_everywhere_and_stays_so(system: SystemUnderTest) -> None:
    cart_id = await system.old_cart(days=40)
    assert (await system.read(cart_id))["lines"] == []  # too old to count, before any purge
    async with redis_left_behind(system):
        await system.age(days_ago=31)
        expired = await system.has_status(cart_id, "expired")
        await system.age()

        async def row_is_gone() -> bool:
            return await system.row(cart_id) is None

        await until(row_is_gone, "row gone")

    records = await system.records(CARTS.name, cart_id)
    (null,) = [record for record in records if record.key == cart_id.encode() and record.value is None]
    version = version_header(null.headers)
    assert version is not None
    assert (version.number, version.operation_count) == (expired.v, expired.n)
    floors = await system.records(PURGE_FLOORS.name, cart_id)
    # By the broker's clock.
    assert floors[-1].timestamp <= null.timestamp
    assert decode_purge_floor(floors[-1].value).purge_floor >= expired.v

    async def copy_is_gone() -> bool:
        return not await system.in_redis(cart_id)

    await until(copy_is_gone, "copy in Redis gone")
    await system.publish(system.change(cart_id, days=39))  # a late one of the purged cart

    async def is_dead_letter() -> bool:
        return bool(await system.dead_letters(cart_id))

    await until(is_dead_letter, "dead letter")
    (letter,) = await system.dead_letters(cart_id)
    assert dict(letter.headers)["dlq_error_code"] == b"below_purge_floor"
    assert await system.row(cart_id) is None

    born_again = await system.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in born_again["lines"]} == {"new": 1}
    assert (await system.has_status(cart_id, "active")).n == 1
    assert await system.lines(cart_id) == {"new": 1}


async def test_a_write_on_a_cart_too_old_to_count_does_not_bring_its_lines_back(
    system: SystemUnderTest,
) -> None:
    cart_id = await system.old_cart(days=40)
    await system.age(days_ago=31)  # and the purge is late
    await system.has_status(cart_id, "expired")
    written = await system.add(cart_id)
    assert {line["line_id"]: line["quantity"] for line in written["lines"]} == {"new": 1}
    await system.has_status(cart_id, "active")

    async def redis_has_the_fold() -> bool:
        row = await system.row(cart_id)
        version = [int(part) for part in (await system.read(cart_id))["version"].split("-")[:2]]
        return row is not None and version == [row.v, row.n]

    await until(redis_has_the_fold, "Redis equal to the row")
    assert await system.lines(cart_id) == {"new": 1}


def test_a_merged_row_that_cannot_be_read_is_passed() -> None:
    row = RowAge("guest:1", 2, 1, "merged", 0, '{"ops": 1}')
    job = ExpiryJob(JobsSettings())
    with capture_logs() as logs:
        commands = job.commands([row, row._replace(cart_id="guest:2", state="{}")], 10**16)
        job.commands([row], 10**16)
    assert [change.cart_id for change in commands] == ["guest:2"]
    assert [(entry["event"], entry["cart_id"]) for entry in logs] == [("expiry.row_unreadable", "guest:1")]
