"""Where a script decides by itself, it decides as the function of carts.protocol that it mirrors.

Scripts read Redis's clock: a case at the edge is judged by the clock before and after, so it cannot flicker.
"""

import itertools
import time

import pytest

from carts.fold import fold
from carts.lifetime import Lifetime
from carts.limits import TIMING, Timing
from carts.operations import Change, Expire
from carts.protocol import (
    Marker,
    Miss,
    expired_copy_may_go,
    follow_continues,
    marker_without_copy,
    next_version,
    removes,
    request_in_time,
    restore_continues,
    row_counts,
    tail_start,
    too_stale,
)
from carts.state import State
from store.redis import (
    Absence,
    Applied,
    Missing,
    PositionMoved,
    Reason,
    Refused,
    RestoreLost,
    StoredCart,
)
from store.redis.answers import microseconds
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.test_requests import CART, SOCKS, applied, request

SECOND_US = 1_000_000
AROUND_US = [-SECOND_US, -1, 0, 60 * SECOND_US]


@pytest.fixture
def partition(fixture: StoreFixture) -> int:
    """The partition of the cart."""
    return fixture.layout.partition(CART)


async def clock(fixture: StoreFixture) -> int:
    """Redis's clock, in microseconds."""
    return microseconds(await fixture.client.execute("TIME", slot=fixture.layout.slot(0)))


def state_at(v: int) -> State:
    """A cart with one operation at this version."""
    state = fold(None, Change(cart_id=CART, version=v, op_id="op", fingerprint="f", delta=(SOCKS,))).state
    assert state is not None
    return state


@pytest.mark.parametrize("ahead_us", [-3600 * SECOND_US, -1, 3600 * SECOND_US, 3600 * SECOND_US + 1])
async def test_a_write_gets_the_next_version(fixture: StoreFixture, ahead_us: int) -> None:
    before_us = await clock(fixture)
    previous = 2 * before_us + ahead_us
    await fixture.store.hydrate(CART, state_at(previous), ABSENCE)
    version = (await applied(fixture)).operation_version
    assert next_version(previous, before_us) <= version <= next_version(previous, await clock(fixture))


@pytest.mark.parametrize("around_us", AROUND_US)
async def test_a_request_is_taken_in_time(fixture: StoreFixture, around_us: int) -> None:
    timing = Timing()
    before_us = await clock(fixture)
    first_seen_us = before_us - timing.retry_horizon_us + around_us
    answer = await fixture.store_with(timing=timing).change(request(first_seen_us=first_seen_us))
    if isinstance(answer, Applied):
        assert request_in_time(before_us, first_seen_us, timing)
    else:
        assert answer == Refused(reason=Reason.TOO_OLD)
        assert not request_in_time(await clock(fixture), first_seen_us, timing)


@pytest.mark.parametrize("around_us", AROUND_US)
async def test_a_copy_that_is_too_stale_counts_as_absent(fixture: StoreFixture, around_us: int) -> None:
    lifetime = Lifetime(idle_s=86_400, retention_s=86_400)
    store, horizon_us = fixture.store_with(lifetime=lifetime), lifetime.horizon_us(CART)
    before_us = await clock(fixture)
    version = 2 * (before_us - horizon_us + around_us)
    await store.hydrate(CART, state_at(version), ABSENCE)
    hydrated = await store.hydrate(CART, state_at(version), ABSENCE)
    answer = await store.change(request(absent_ok=False))
    after_us = await clock(fixture)
    unknown = isinstance(answer, Refused) and answer.reason is Reason.UNKNOWN_CART
    for absent in (hydrated, unknown):
        assert too_stale(version, after_us if absent else before_us, horizon_us) is absent


NOW_US = time.time_ns() // 1000


@pytest.mark.parametrize("restoration", ["restored-here", "restored-before"])
@pytest.mark.parametrize("position", [0, 41, 42, 43])
@pytest.mark.parametrize("ago_us", [0, TIMING.hydration_us - SECOND_US, TIMING.hydration_us + 1])
async def test_a_row_stands_for_a_cart_that_is_missing(
    fixture: StoreFixture, partition: int, restoration: str, position: int, ago_us: int
) -> None:
    """Of births, and of carts that are brought in."""
    marker = Marker("restored-here", 42, NOW_US, "topic")
    ready = fixture.layout.of_partition(partition).ready
    await fixture.client.execute("SET", ready, f"restored-here 42 {NOW_US} topic")
    assert (await fixture.store.markers())[partition] == marker
    before_us = await clock(fixture)
    absence = Absence(Miss(restoration, before_us - ago_us), position)
    answer = await fixture.store.change(request(absence=absence))
    if isinstance(answer, Refused):
        assert answer.missing is not None
        assert answer.missing.marker == marker
        assert before_us <= answer.missing.time_us <= await clock(fixture)
    counts = [isinstance(answer, Applied)]
    keys = fixture.layout.of_cart(CART)
    await fixture.client.execute("DEL", keys.cart, keys.ops, keys.win)
    counts.append(await fixture.store.hydrate(CART, state_at(before_us), absence))
    for found in counts:
        time_us = before_us if found else await clock(fixture)
        assert row_counts(absence.miss, position, marker, time_us) is found


@pytest.mark.parametrize("position", [9, 10, 11])
@pytest.mark.parametrize("age_s", [0, 59, 61, 3600])
async def test_the_copy_of_an_expired_cart_goes_when_its_row_says_the_same(
    fixture: StoreFixture, partition: int, position: int, age_s: int
) -> None:
    store = fixture.store_with(lifetime=Lifetime(idle_s=86_400))
    state = state_at(2 * NOW_US)
    step = Expire(state.version_number, 1, NOW_US)
    gone = fold(state, Change(cart_id=CART, version=0, op_id="", delta=(step,))).state
    assert gone is not None
    assert gone.expired
    await fixture.client.execute("SET", fixture.layout.of_partition(partition).followed, 9)
    await store.follow_put(partition, 9, 10, [(CART, gone)])
    before_us = await clock(fixture)
    await fixture.client.execute("EXPIRE", fixture.layout.of_cart(CART).cart, 86_400 - age_s)
    listed = await store.expired_copies(partition, position, 10)
    assert listed == ([CART] if position >= 10 else [])
    marker = await store.marker(partition)
    assert marker is not None
    assert not await store.drop_expired(CART, position, "another")
    dropped = await store.drop_expired(CART, position, marker.restoration)
    older_us = age_s * SECOND_US + await clock(fixture) - before_us
    assert dropped in {expired_copy_may_go(age_us, 10, position) for age_us in (age_s * SECOND_US, older_us)}
    assert await store.marker(partition) == (marker_without_copy(marker, 10) if dropped else marker)
    assert isinstance(await store.read(CART), Missing) is dropped
    assert await store.expired_copies(partition, 99, 10) == ([] if dropped else [CART])


async def test_a_cart_that_lives_again_is_no_expired_copy(fixture: StoreFixture, partition: int) -> None:
    await fixture.client.execute("ZADD", fixture.layout.of_partition(partition).expired, 1, CART)
    await applied(fixture)
    assert await fixture.store.drop_expired(CART, 0, "restored")
    assert isinstance(await fixture.store.read(CART), StoredCart)


@pytest.mark.parametrize("since", [None, 0, 30, 70])
@pytest.mark.parametrize("followed", [None, 0, 40, 70])
@pytest.mark.parametrize("position", [0, 50])
async def test_a_restoration_begins_where_redis_may_lack_something(
    fixture: StoreFixture, partition: int, since: int | None, followed: int | None, position: int
) -> None:
    keys = fixture.layout.of_partition(partition)
    await fixture.everywhere("FLUSHALL")
    if followed is not None:
        await fixture.client.execute("SET", keys.followed, followed)
    if since is not None:
        earlier = await fixture.store.restore_begin(partition)
        await fixture.client.execute("HSET", keys.restore, "token", earlier, "since", since)
    token = await fixture.store.restore_begin(partition)
    found = await fixture.store.restore_from(partition, token, 0, position)
    lacking = [each for each in (since, followed) if each is not None]
    assert isinstance(found, int)
    assert tail_start(position, found, 100) == tail_start(position, min(lacking, default=None), 100)
    assert isinstance(await fixture.store.restore_from(partition, token, 0, position), RestoreLost)
    assert await fixture.store.restore_finish(partition, token, 1, 99, rows_position=50, topic_id="t") is None
    again = await fixture.store.restore_begin(partition)
    assert await fixture.store.restore_from(partition, again, 0, 99) == 99


async def test_a_partition_is_cold_from_a_tail_until_it_is_warmed(
    fixture: StoreFixture, partition: int
) -> None:
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_finish(partition, token, 0, 99, rows_position=50, topic_id="t")
    assert await fixture.store.cold(partition) == 99
    assert not await fixture.store.warmed(partition, "another", 99, 7, [])
    assert not await fixture.store.warmed(partition, token, 60, 7, [])
    assert not await fixture.store.warmed(partition, token, 99, 60, [CART])  # which is not there
    assert await fixture.store.warmed(partition, token, 99, 60, [])
    assert await fixture.store.cold(partition) == 60
    assert await fixture.store.warmed(partition, token, 60, None, [])
    assert await fixture.store.cold(partition) is None
    await fixture.make_ready(partition)
    assert await fixture.store.cold(partition) is None


@pytest.mark.parametrize("acknowledged", ["op-0", "op-1", ""])
async def test_an_acknowledgement_removes_its_own_entry(fixture: StoreFixture, acknowledged: str) -> None:
    change = await applied(fixture, op_id="op-0")
    removed = await fixture.store.outbox_remove(change.partition, [(change.entry.id, acknowledged)])
    assert removed == removes(acknowledged, "op-0")


@pytest.mark.parametrize(
    ("is_own_token", "sequence", "steps"), list(itertools.product([True, False], [0, 1, 2], [0, 1, 2, None]))
)
async def test_a_restore_goes_on_in_the_redis_that_it_has_filled(
    fixture: StoreFixture, partition: int, *, is_own_token: bool, sequence: int, steps: int | None
) -> None:
    """`steps`: how many the running restoration has made, none: Redis knows of none."""
    running = await fixture.store.restore_begin(partition)
    for step in range(steps or 0):
        await fixture.store.restore_put(partition, running, step, [])
    token = running if is_own_token else "0" * 32
    if steps is None:
        await fixture.everywhere("FLUSHALL")
    goes_on = restore_continues(token, sequence, None if steps is None else running, steps or 0)
    put = await fixture.store.restore_put(partition, token, sequence, [])
    assert isinstance(put, RestoreLost) is not goes_on
    finished = await fixture.store.restore_finish(partition, token, sequence + goes_on, 0)
    assert isinstance(finished, RestoreLost) is not goes_on


@pytest.mark.parametrize(("expected", "found"), list(itertools.product([None, 0, 9, 10], repeat=2)))
async def test_following_goes_on_from_where_redis_is(
    fixture: StoreFixture, partition: int, expected: int | None, found: int | None
) -> None:
    key = fixture.layout.of_partition(partition).followed
    await fixture.client.execute("DEL", key)
    if found is not None:
        await fixture.client.execute("SET", key, found)
    answer = await fixture.store.follow_put(partition, expected, 11, [])
    goes_on = follow_continues(expected, found)
    assert isinstance(answer, PositionMoved) is not goes_on
    assert await fixture.store.followed(partition) == (11 if goes_on else found)
