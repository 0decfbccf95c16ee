"""The job that looks after merges: what it settles, hands over, looks at again and forgets."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from carts.fold import fold
from carts.lifetime import Lifetime
from carts.merging import Basis, Merge, Strategy, Transfer, plan
from carts.operations import Change, Expire
from carts.state import State
from jobs.merges import MergeJob, is_due, is_settled
from jobs.settings import JobsSettings
from runtime.clock import clock_us
from store.postgres import merges, outbox
from store.postgres.merges import Unsettled
from tests.gateway.rows import born, insert
from tests.support.servers import Urls
from topics.codec import decode_merge
from topics.registry import CART_MERGES

DAY_US = 86_400 * 1_000_000


def lately() -> int:
    """A version of some seconds ago."""
    return 2 * (clock_us() - 5_000_000)


class Desk:
    """The tables and the job, without the processes that would change them meanwhile."""

    def __init__(self, urls: Urls, connection: psycopg.AsyncConnection[Any]) -> None:
        self.urls = urls
        self.connection = connection
        self.job = MergeJob(JobsSettings(merge_grace_s=0))

    async def begin(self) -> Merge:
        """A merge of a guest's cart into a user's."""
        mark = uuid4().hex
        merge = Merge(f"m_{mark}", f"guest:{mark}", f"user:{mark}", Strategy.SUM)
        return (await merges.begin(self.connection, merge)).merge

    async def decide(self, merge: Merge, guest: State) -> Transfer:
        """The transfer of everything that the guest's cart shows, finished but for the carts."""
        transfer = plan(merge, Basis(guest, State()), number=1, place=1, now_us=clock_us())
        await merges.insert(self.connection, merge, transfer)
        await merges.finish(self.connection, merge.merge_id)
        return transfer

    async def row(self, cart_id: str, state: State) -> None:
        """Make the cart's row what the sink would make it."""
        await insert(self.urls.postgres, cart_id, state)

    async def handed_over(self) -> list[str]:
        """The merges whose records wait for the relay, which are then gone."""
        rows = await outbox.waiting(self.connection, max_records=100, max_bytes=1 << 20)
        found = [decode_merge(row.record.value).merge_id for row in rows]
        assert all(row.record.topic == CART_MERGES.name for row in rows)
        await outbox.remove(self.connection, [row.outbox_id for row in rows])
        for merge_id in found:
            await merges.taken(self.connection, merge_id)
        return found

    async def settled(self, merge: Merge) -> bool:
        """Whether the merge's transfer is known to be in both carts."""
        (stored,) = await merges.transfers(self.connection, merge.merge_id)
        return stored.settled

    async def is_open(self, merge: Merge) -> bool:
        """Whether there is something to carry on."""
        stored = await merges.find(self.connection, merge.merge_id)
        assert stored is not None
        return stored.is_open


@pytest.fixture
async def desk(urls: Urls) -> AsyncIterator[Desk]:
    """Empty tables."""
    async with await psycopg.AsyncConnection.connect(urls.postgres, autocommit=True) as connection:
        await connection.execute("TRUNCATE merges, merge_transfers, carts, outbox CASCADE")
        yield Desk(urls, connection)


def knowing(state: State, number: int = 1) -> State:
    """The state with a transfer of that number."""
    return msgspec.structs.replace(state, transfers=number)


async def test_a_merge_that_nobody_carries_on_is_handed_over(desk: Desk) -> None:
    merge = await desk.begin()
    assert await desk.job.round(desk.connection) == 1
    assert await desk.handed_over() == [merge.merge_id]


async def test_a_merge_whose_record_waits_behind_others_is_not_handed_over_again(desk: Desk) -> None:
    merge = await desk.begin()
    for handed in (1, 0, 0):
        assert await desk.job.round(desk.connection) == handed
    assert await desk.handed_over() == [merge.merge_id]
    # The agent had it and had to leave it.
    assert await desk.job.round(desk.connection) == 1


async def test_whoever_carries_a_merge_on_is_left_alone(desk: Desk) -> None:
    await desk.begin()
    patient = MergeJob(JobsSettings(merge_grace_s=60))
    assert await patient.round(desk.connection) == 0
    assert await desk.handed_over() == []


async def test_a_transfer_is_handed_over_until_both_rows_have_it(desk: Desk) -> None:
    merge = await desk.begin()
    guest, user = born(merge.guest, lately()), born(merge.into, lately())
    await desk.decide(merge, guest)
    await desk.row(merge.guest, guest)
    for state in (user, knowing(user)):
        await desk.row(merge.into, state)
        assert await desk.job.round(desk.connection) == 1
        assert await desk.handed_over() == [merge.merge_id]
    await desk.row(merge.guest, knowing(guest))
    assert await desk.job.round(desk.connection) == 0
    assert await desk.settled(merge)


async def test_a_guests_cart_that_changes_after_its_merge_is_looked_at_once(desk: Desk) -> None:
    merge = await desk.begin()
    guest = born(merge.guest, lately())
    await desk.decide(merge, guest)
    await desk.row(merge.into, knowing(born(merge.into, lately())))
    await desk.row(merge.guest, guest)
    # Not before the transfer is seen: the row may not have lost yet what went along.
    assert await desk.job.look_again(desk.connection) == 0
    await desk.row(merge.guest, knowing(guest))
    await desk.job.round(desk.connection)
    assert await desk.job.look_again(desk.connection) == 1
    assert await desk.is_open(merge)
    assert await desk.job.round(desk.connection) == 1
    assert await desk.handed_over() == [merge.merge_id]
    await merges.finish(desk.connection, merge.merge_id)
    assert await desk.job.look_again(desk.connection) == 0
    assert not await desk.is_open(merge)


async def test_a_merge_is_forgotten_when_its_guests_cart_is_gone(desk: Desk) -> None:
    gone, there = await desk.begin(), await desk.begin()
    for merge in (gone, there):
        await merges.finish(desk.connection, merge.merge_id)
    await desk.row(there.guest, born(there.guest, lately()))
    await desk.connection.execute("UPDATE merges SET finished_at = finished_at - interval '2 days'")
    assert await merges.forget(desk.connection, timedelta(days=3), 10) == 0
    assert await merges.forget(desk.connection, timedelta(days=1), 10) == 1
    assert await merges.find(desk.connection, gone.merge_id) is None
    assert await merges.find(desk.connection, there.merge_id) is not None


def unsettled(guest: State | None, user: State | None, *, place: int = 1) -> Unsettled:
    """A transfer, and the rows of both carts."""
    merge = Merge("m", "guest:1", "user:1", Strategy.SUM)
    transfer = plan(merge, Basis(born("guest:1", lately()), State()), number=1, place=1, now_us=clock_us())
    return Unsettled("m", 1, msgspec.structs.replace(transfer, place=place), guest, user)


def test_carts_without_rows_are_gone_only_after_the_retention() -> None:
    lifetime = Lifetime(retention_s=30 * 86_400)
    nowhere = unsettled(None, None)
    assert is_due(nowhere, clock_us(), lifetime)
    assert not is_settled(nowhere, clock_us(), lifetime)
    later = clock_us() + 31 * DAY_US
    assert is_settled(nowhere, later, lifetime)
    assert not is_due(nowhere, later, lifetime)
    assert not is_settled(nowhere, later, Lifetime())


def test_a_guests_cart_that_has_expired_makes_its_transfer_wait() -> None:
    guest = born("guest:1", lately())
    age = Change(
        cart_id="guest:1",
        version=1,
        op_id="!e",
        delta=(Expire(guest.version_number, guest.operation_count, guest.version_number // 2),),
    )
    expired = fold(guest, age).state
    waiting = unsettled(expired, knowing(State()))
    assert not is_settled(waiting, clock_us(), Lifetime())
    assert not is_due(waiting, clock_us(), Lifetime())


def test_a_transfer_that_brings_nothing_needs_no_user() -> None:
    assert is_settled(unsettled(knowing(State()), None, place=0), clock_us(), Lifetime())
