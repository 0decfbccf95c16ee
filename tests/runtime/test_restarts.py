"""When to restart what has ended: the decision alone."""

import os

from hypothesis import given
from hypothesis import strategies as st

from runtime.supervision.restarts import HEALTHY_SECONDS, LONGEST_DELAY_SECONDS, restart_after

exit_codes = st.integers(-64, 255)
lives = st.floats(0, 100_000)
counts = st.integers(0, 50)


def test_the_wait_doubles_with_each_failure_in_a_row() -> None:
    delays, failures = [], 0
    for _ in range(4):
        restart = restart_after(exit_code=1, ran_seconds=5.0, failures=failures)
        delays.append(restart.delay)
        failures = restart.failures
    assert delays == [0.25, 0.5, 1.0, 2.0]


def test_a_healthy_life_starts_the_count_anew() -> None:
    assert restart_after(1, HEALTHY_SECONDS, failures=9) == restart_after(1, 5.0, failures=0)


def test_exit_code_75_is_a_restart_at_once_and_no_failure() -> None:
    restart = restart_after(os.EX_TEMPFAIL, ran_seconds=5.0, failures=3)
    assert (restart.delay, restart.failures) == (0.0, 0)


def test_exit_code_75_at_birth_does_not_spin() -> None:
    assert restart_after(os.EX_TEMPFAIL, ran_seconds=0.1, failures=3).delay > 0


@given(exit_codes, lives, counts)
def test_the_wait_is_bounded(exit_code: int, lived: float, failures: int) -> None:
    assert 0 <= restart_after(exit_code, lived, failures).delay <= LONGEST_DELAY_SECONDS
