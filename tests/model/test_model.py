"""Random histories of the whole protocol keep every promise; without any one guard some history does not."""

from functools import cache
from unittest import mock

import pytest

from tests.model import without
from tests.model.ablations import ABLATIONS, Ablation, counterexample, taken_away
from tests.model.cold_carts import ColdCarts
from tests.model.merge_ablations import MERGE_ABLATIONS
from tests.model.run import Report, explore, problem_of, shrink
from tests.model.schedules import KINDS, schedule_of
from tests.model.tail_ablations import TAIL_ABLATIONS
from tests.model.trim_ablations import TRIM_ABLATIONS

SEEDS = range(150)
"""Histories of each kind; `python -m tests.model` plays more."""


@cache
def report_of(kind: str) -> Report:
    """The histories of a kind, played once."""
    return explore(kind, SEEDS)


@pytest.mark.parametrize("kind", KINDS)
def test_random_histories_keep_every_promise(kind: str) -> None:
    report = report_of(kind)
    assert not report.failures, "\n".join(f"{each.problem}\n{each.command}" for each in report.failures)


@pytest.mark.parametrize(
    "ablation",
    [*ABLATIONS, *MERGE_ABLATIONS, *TAIL_ABLATIONS, *TRIM_ABLATIONS],
    ids=lambda ablation: ablation.guard.replace(" ", "_"),
)
def test_without_the_guard_a_promise_breaks(ablation: Ablation) -> None:
    failure = counterexample(ablation)
    assert failure is not None, f"{ablation.guard}: no history needs it any more"
    assert failure.problem.startswith(ablation.fails), failure.problem


def test_histories_exercise_what_the_guards_are_for() -> None:
    """A model in which nothing happens would keep every promise too."""
    exercised = set()
    for kind in KINDS:
        exercised |= set(report_of(kind).exercised)
    assert exercised >= {
        "changelog records lost in a crash",
        "emitted again",
        "erasures",
        "evictions",
        "expired copies dropped",
        "expiries",
        "failovers",
        "floor moved",
        "fold: below_floor",
        "fold: deleted",
        "fold: refused",
        "follow went back",
        "forks and gaps",
        "further transfers",
        "hydrations",
        "healed by anti-entropy",
        "late completes",
        "left to the sweeper",
        "legs of a dead runner",
        "merges refused",
        "merges taken up again",
        "orders of a record behind",
        "orders renewed by the fold",
        "orders waiting for an earlier one",
        "puts refused: not covering",
        "reads of the row",
        "replays",
        "restores",
        "restores started over",
        "restores with the cart in the tail",
        "restores without the cart",
        "rows put back",
        "states of a run that nobody sees",
        "subtractions from a record behind",
        "subtractions renewed",
        "sweeps read again",
        "the same read with another window",
        "transfers",
        "transfers decided by somebody else",
        "transfers into a merged cart",
        "transfers waiting for another's",
        "transfers waiting for one into the same cart",
        "transfers waiting for the last",
        "trims",
        "voided expiries",
        "warmed",
        "wipes",
        "zombie records",
    }


def test_a_reader_may_miss_what_gets_into_the_log_after_the_restoration_has_looked() -> None:
    """So readers are not promised more than that."""
    with mock.patch.object(ColdCarts, "is_promised", without.always):
        failures = explore("tail_inflight", range(10)).failures
    assert {each.problem.rpartition(" ")[0] for each in failures} == {"a reader misses acknowledged"}


def test_a_failing_history_is_shrunk_to_one_that_fails_in_the_same_way() -> None:
    ablation = next(each for each in ABLATIONS if each.guard == "replay reply")
    failure = counterexample(ablation)
    assert failure is not None
    with taken_away(ablation):
        short = shrink(failure)
        assert problem_of(short.kind, short.schedule, short.bits) == short.problem
    assert len(short.schedule) < len(failure.schedule)
    assert problem_of(short.kind, short.schedule, short.bits) is None


def test_a_seed_is_always_the_same_schedule() -> None:
    assert schedule_of("all", 7) == schedule_of("all", 7) != schedule_of("all", 8)
