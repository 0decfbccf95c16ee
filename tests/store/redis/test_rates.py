"""What gateways note of rate limits in Redis."""

import time

import pytest

from store.redis import SharedRates
from tests.store.redis.conftest import StoreFixture
from topics.names import IN_REDIS


async def test_what_gateways_take_adds_up_and_is_given_back(fixture: StoreFixture) -> None:
    rates, began = SharedRates(fixture.client), time.monotonic()
    assert await rates.add("test", "somebody", 50, 60) == pytest.approx(50, abs=0.1)
    backlog = await rates.add("test", "somebody", 7, 60)
    assert 57 - (time.monotonic() - began) - 0.1 <= backlog < 57.1
    assert await rates.add("test", "somebody else", 1, 60) == pytest.approx(1, abs=0.1)
    assert await rates.add("other", "somebody", 1, 60) == pytest.approx(1, abs=0.1)


async def test_no_more_than_two_windows_count(fixture: StoreFixture) -> None:
    rates = SharedRates(fixture.client)
    for _ in range(3):
        backlog = await rates.add("test", "somebody", 100, 60)
    assert backlog == pytest.approx(120, abs=1)


async def test_redis_forgets_a_subject_once_nothing_counts_and_never_knows_its_name(
    fixture: StoreFixture,
) -> None:
    await SharedRates(fixture.client).add("test", "203.0.113.7", 100, 60)
    (key,) = await fixture.keys(f"{IN_REDIS}rate:*")
    assert b"203" not in key.removeprefix(IN_REDIS.encode()).partition(b":")[2].partition(b":")[0]
    assert 0 < await fixture.client.execute("PTTL", key) <= 100_001
