"""Which requests are turned away, and when: the decision without a server."""

import math

import pytest

from gateway.server.admission import Admission, Priority

LONGEST_S = 0.025
CROWD = 100
SECOND = 20
"""Periods of a second."""


def admission(in_flight: int = 0) -> Admission:
    made = Admission(LONGEST_S, CROWD)
    for _ in range(in_flight):
        made.enter()
    return made


def queueing(found: Admission, seconds: float, periods: int = 2) -> None:
    for _ in range(periods):
        found.waited(seconds)
        found.adapt(0, 0)


def limited(in_flight: int = 400) -> Admission:
    found = admission(in_flight)
    queueing(found, 2 * LONGEST_S)
    assert found.is_limited
    return found


@pytest.mark.parametrize("priority", Priority)
def test_without_a_queue_nobody_is_turned_away_however_much_is_in_flight(priority: Priority) -> None:
    found = admission(1_000_000)
    queueing(found, LONGEST_S / 2, 100)
    assert found.admits(priority)


def test_one_slow_moment_is_no_queue() -> None:
    found = admission(400)
    queueing(found, LONGEST_S / 2)
    queueing(found, 1.0, 1)
    queueing(found, LONGEST_S / 2)
    assert not found.is_limited


def test_one_short_wait_among_long_ones_shows_that_no_queue_stands() -> None:
    found = admission(400)
    for _ in range(10):
        found.waited(1.0)
        found.waited(LONGEST_S / 2)
        found.adapt(0, 0)
    assert not found.is_limited


def test_a_late_loop_is_a_queue_even_if_redis_is_not_asked() -> None:
    found = admission(400)
    found.adapt(2 * LONGEST_S, 0)
    found.adapt(2 * LONGEST_S, 0)
    assert found.limit == 200


def test_a_redis_that_has_not_answered_for_a_period_is_a_queue() -> None:
    found = admission(400)
    for periods in (1, 2, 3):
        found.adapt(0, periods * 2 * LONGEST_S)
    assert found.limit < 200
    before = found.limit
    found.adapt(0, 10.0)
    assert found.limit < before


def test_without_a_crowd_there_is_no_limit_and_with_one_it_may_fall_to_an_eighth() -> None:
    found = admission(CROWD)
    queueing(found, 10.0, 100)
    assert not found.is_limited
    assert limited().limit == 200
    found = limited()
    queueing(found, 10.0, 100)
    assert found.limit == CROWD / 8


def test_imports_are_turned_away_before_writes_before_reads_and_orders_never() -> None:
    found = limited()
    turned_away = []
    for in_flight in range(int(found.limit) + 1):
        found.in_flight = in_flight
        turned_away += [p for p in Priority if not found.admits(p) and p not in turned_away]
    assert turned_away == [Priority.BULK, Priority.WRITE, Priority.READ]
    found.in_flight = 1_000_000
    assert found.admits(Priority.ALWAYS)


@pytest.mark.parametrize("waiting_elsewhere", [0, 100, 300])
def test_the_limit_finds_the_most_that_keeps_the_delay(waiting_elsewhere: int) -> None:
    found = limited()
    per_request_s = LONGEST_S / 200
    for _ in range(10 * SECOND):
        found.in_flight = int(found.limit)
        found.admits(Priority.READ)
        queueing(found, max(0.0, found.in_flight - waiting_elsewhere) * per_request_s, 1)
    assert found.limit == pytest.approx(200 + waiting_elsewhere, rel=0.1)


def test_a_second_after_the_load_there_is_no_limit() -> None:
    found = limited()
    assert not found.admits(Priority.READ)
    for _ in range(399):
        found.leave()
    queueing(found, 0.001, SECOND + 1)
    assert found.limit == math.inf


def test_the_limit_stays_while_somebody_is_turned_away() -> None:
    found = limited()
    for _ in range(3 * SECOND):
        found.in_flight = 1_000_000
        found.admits(Priority.READ)
        queueing(found, LONGEST_S / 2, 1)
    assert found.is_limited
