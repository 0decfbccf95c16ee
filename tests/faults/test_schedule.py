"""A schedule is a function of its seed, and over some seeds it breaks everything in every way."""

from itertools import pairwise

import pytest

from tests.faults.schedule import DECK, LASTS, schedule


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7, 60) == schedule(7, 60)


def test_different_seeds_give_different_schedules() -> None:
    assert schedule(7, 60) != schedule(8, 60)


@pytest.mark.parametrize("seed", range(20))
def test_faults_come_one_after_the_other_and_end_within_the_run(seed: int) -> None:
    faults = schedule(seed, 60)
    assert faults
    for fault, following in pairwise(faults):
        assert fault.at + fault.seconds < following.at
    assert faults[-1].at + faults[-1].seconds <= 60


@pytest.mark.parametrize("seed", range(20))
def test_faults_last_as_long_as_their_kind_says(seed: int) -> None:
    for fault in schedule(seed, 60):
        shortest, longest = LASTS[fault.kind]
        assert shortest <= fault.seconds <= longest


def test_a_long_run_plays_every_card() -> None:
    played = {(fault.kind, fault.target) for fault in schedule(1, 1200)}
    assert played == set(DECK)
