"""Where a script decides by itself, it decides as the function of carts.protocol that it mirrors.

Scripts read Redis's clock: a case at the edge is judged by the clock before and after, so it cannot flicker.
"""

import itertools

import pytest

from carts.fold import fold
from carts.lifetime import Lifetime
from carts.limits import Timing
from carts.operations import Change
from carts.protocol import (
    follow_continues,
    next_version,
    removes,
    request_in_time,
    restore_continues,
    too_stale,
)
from carts.state import State
from store.redis import Applied, PositionMoved, Reason, Refused, RestoreLost
from store.redis.answers import microseconds
from tests.store.redis.conftest import StoreFixture
from tests.store.redis.test_requests import CART, SOCKS, applied, request

SECOND_US = 1_000_000
AROUND_US = [-SECOND_US, -1, 0, 60 * SECOND_US]


@pytest.fixture
def partition(fixture: StoreFixture) -> int:
    """The partition of the cart."""
    return fixture.layout.partition(CART)


async def clock(fixture: StoreFixture) -> int:
    """Redis's clock, in microseconds."""
    return microseconds(await fixture.client.execute("TIME"))


def state_at(v: int) -> State:
    """A cart with one operation at this version."""
    state = fold(None, Change(cart_id=CART, version=v, op_id="op", fingerprint="f", delta=(SOCKS,))).state
    assert state is not None
    return state


@pytest.mark.parametrize("ahead_us", [-3600 * SECOND_US, -1, 3600 * SECOND_US, 3600 * SECOND_US + 1])
async def test_a_write_gets_the_next_version(fixture: StoreFixture, ahead_us: int) -> None:
    before_us = await clock(fixture)
    previous = 2 * before_us + ahead_us
    await fixture.store.hydrate(CART, state_at(previous))
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
    await store.hydrate(CART, state_at(version))
    hydrated = await store.hydrate(CART, state_at(version))
    answer = await store.change(request(absent_ok=False))
    after_us = await clock(fixture)
    for absent in (hydrated, answer == Refused(reason=Reason.UNKNOWN_CART)):
        assert too_stale(version, after_us if absent else before_us, horizon_us) is absent


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
        await fixture.client.execute("FLUSHALL")
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
