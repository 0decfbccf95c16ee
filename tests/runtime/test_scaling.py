"""How many workers there are to be: the decision alone."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from runtime.supervision.scaling import LONGEST_PATIENCE_S, Load, Policy, Scale, decide, initial

POLICY = Policy(least=1, most=4, late_s=10, more_after_s=30, fewer_after_s=600)
LATE, BETWEEN, CALM = Load(behind_s=60), Load(behind_s=7), Load(behind_s=0)

loads = st.one_of(
    st.none(), st.builds(Load, behind_s=st.floats(0, 1000, allow_nan=False), spare=st.booleans())
)
looks = st.lists(st.tuples(st.floats(0.1, 1000), loads), max_size=60)


def after(scale: Scale, load: Load | None, seconds: float, start: float = 0.0) -> Scale:
    """The scale after looks ten seconds apart that all saw this load."""
    for step in range(int(seconds / 10) + 1):
        scale = decide(POLICY, scale, load, start + 10 * step)
    return scale


def test_a_group_that_stays_late_gets_a_worker_after_the_wait_and_another_after_the_next() -> None:
    assert after(initial(POLICY), LATE, 20).count == 1
    assert after(initial(POLICY), LATE, 30).count == 2
    assert after(initial(POLICY), LATE, 70).count == 3


def test_a_calm_group_loses_workers_down_to_the_least() -> None:
    many = replace(initial(POLICY), count=3)
    assert after(many, CALM, 590).count == 3
    assert after(many, CALM, 600).count == 2
    assert after(many, CALM, 10_000).count == POLICY.least


def test_a_group_that_is_neither_late_nor_calm_stays_as_it_is() -> None:
    some = replace(initial(POLICY), count=2)
    assert after(some, BETWEEN, 10_000).count == 2
    waited = after(some, LATE, 20)
    assert after(decide(POLICY, waited, BETWEEN, 25), LATE, 20, start=30).count == 2


def test_a_look_that_failed_begins_both_waits_anew() -> None:
    some = replace(initial(POLICY), count=2)
    for load, seconds in ((LATE, 20), (CALM, 590)):
        unknown = decide(POLICY, after(some, load, seconds), None, seconds + 5)
        assert after(unknown, load, seconds, start=seconds + 10).count == 2


def test_a_spare_worker_means_that_another_one_would_not_help() -> None:
    assert after(initial(POLICY), replace(LATE, spare=True), 1000).count == 1


def test_a_worker_that_was_missed_soon_leaves_later_the_next_time() -> None:
    fewer = after(replace(initial(POLICY), count=2), CALM, 600)
    assert fewer.count == 1
    again = after(fewer, LATE, 30, start=610)
    assert (again.count, again.patience_s) == (2, 1200)
    assert after(again, CALM, 1190, start=1000).count == 2
    assert after(again, CALM, 1200, start=1000).count == 1


def test_a_worker_that_was_not_missed_for_long_is_no_lesson() -> None:
    fewer = after(replace(initial(POLICY), count=2, patience_s=1200), CALM, 1200)
    again = after(fewer, LATE, 30, start=5000)
    assert (again.count, again.patience_s) == (2, POLICY.fewer_after_s)


@given(looks)
def test_whatever_is_seen_the_number_stays_in_its_bounds_and_moves_by_one(
    seen: Iterable[tuple[float, Load | None]],
) -> None:
    scale, now = initial(POLICY), 0.0
    for pause, load in seen:
        now += pause
        before, scale = scale, decide(POLICY, scale, load, now)
        assert POLICY.least <= scale.count <= POLICY.most
        assert abs(scale.count - before.count) <= 1
        assert POLICY.fewer_after_s <= scale.patience_s <= LONGEST_PATIENCE_S


@given(looks)
def test_two_changes_are_never_closer_than_the_shorter_wait(
    seen: Iterable[tuple[float, Load | None]],
) -> None:
    scale, now, changed = initial(POLICY), 0.0, float("-inf")
    for pause, load in seen:
        now += pause
        before, scale = scale, decide(POLICY, scale, load, now)
        if scale.count != before.count:
            assert now - changed >= POLICY.more_after_s
            changed = now
