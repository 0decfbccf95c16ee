"""A schedule is a function of its seed, and over some seeds it breaks everything in every way."""

from itertools import pairwise

import pytest

from tests.faults.schedule import LASTS, Kind, deck, schedule
from tests.faults.topology import Topology

THREE = Topology(workers=3)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7, 60, THREE) == schedule(7, 60, THREE)


def test_different_seeds_give_different_schedules() -> None:
    assert schedule(7, 60, THREE) != schedule(8, 60, THREE)


@pytest.mark.parametrize("seed", range(20))
def test_faults_come_one_after_the_other_and_end_within_the_run(seed: int) -> None:
    faults = schedule(seed, 60, THREE)
    assert faults
    for fault, following in pairwise(faults):
        assert fault.at + fault.seconds < following.at
    assert faults[-1].at + faults[-1].seconds <= 60


@pytest.mark.parametrize("seed", range(20))
def test_faults_last_as_long_as_their_kind_says(seed: int) -> None:
    for fault in schedule(seed, 60, THREE):
        shortest, longest = LASTS[fault.kind]
        assert shortest <= fault.seconds <= longest


def test_a_long_run_plays_every_card() -> None:
    played = {(fault.kind, fault.target) for fault in schedule(1, 2400, THREE)}
    assert played == set(deck(THREE))


def test_seeds_in_a_row_play_nearly_every_card() -> None:
    played = {(fault.kind, fault.target) for seed in range(1, 21) for fault in schedule(seed, 60, THREE)}
    assert len(played) > 0.95 * len(set(deck(THREE)))


def test_one_worker_has_nobody_to_leave_its_work_to() -> None:
    assert not [kind for kind, _ in deck(Topology()) if kind is Kind.LEAVE]
    assert ("leave and join", "compaction-3") in deck(THREE)
