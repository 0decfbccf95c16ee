"""An idle cart is trimmed as a whole, once nothing older can come, and is the same cart afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carts.fold import Outcome, Verdict, fold
from carts.operations import Change, Expire, Trim
from carts.protocol import PutOutcome, keep_recovered, put_outcome, row_replaced
from carts.state import ClaimState, State, Status, uncovered, window_of
from tests.carts.histories import DELTAS, TIMING, add, change, quantities, state_of, subtract

IDLE_US = 500
"""Much later than every change here."""


def trim(at_us: int) -> Change:
    """The trim of that time."""
    return change(2 * at_us, "!trim", Trim(at_us))


def fold_once(state: State | None, made: Change) -> Outcome:
    """One fold with the times of the tests."""
    return fold(state, made, timing=TIMING)


def trimmed(state: State) -> State:
    """`state` after it has idled."""
    outcome = fold_once(state, trim(IDLE_US))
    assert outcome.verdict is Verdict.CHANGED
    assert outcome.state is not None
    return outcome.state


GROWN = state_of(change(20, "a", add("x", 1)), change(22, "b", add("y", 2)), change(30, "c", add("x", 4)))


@given(st.lists(DELTAS, min_size=1, max_size=6))
def test_the_cart_is_the_same_but_for_its_window(deltas: list[tuple[object, ...]]) -> None:
    state = state_of(*(change(20 + 2 * n, f"op-{n}", *delta) for n, delta in enumerate(deltas)))
    small = trimmed(state)
    assert (small.version, small.content(), small.born) == (state.version, state.content(), state.born)
    assert (small.ops, small.floor, small.status) == ((), state.version_number, Status.ACTIVE)


def test_a_cart_is_trimmed_only_when_its_newest_write_is_older_than_w() -> None:
    newest_us, window_us = 15, TIMING.window_us
    assert fold_once(GROWN, trim(newest_us + window_us - 1)) == Outcome(GROWN, Verdict.KNOWN)
    assert fold_once(GROWN, trim(newest_us + window_us)).verdict is Verdict.CHANGED


def test_a_trimmed_cart_is_not_trimmed_again_and_an_absent_one_stays_absent() -> None:
    small = trimmed(GROWN)
    assert fold_once(small, trim(2 * IDLE_US)) == Outcome(small, Verdict.KNOWN)
    assert fold_once(None, trim(IDLE_US)) == Outcome(None, Verdict.KNOWN)


def test_a_write_goes_on_where_the_cart_was_and_what_comes_late_is_a_duplicate() -> None:
    small = trimmed(GROWN)
    assert fold_once(small, change(22, "b", add("y", 2))) == Outcome(small, Verdict.BELOW_FLOOR)
    after = fold_once(small, change(2 * IDLE_US, "d", add("x", 8))).state
    assert after == fold_once(GROWN, change(2 * IDLE_US, "d", add("x", 8))).state
    assert after is not None
    assert quantities(after) == {"x": 13, "y": 2}


def test_an_idle_cart_expires_at_the_version_it_had() -> None:
    small = trimmed(GROWN)
    expiry = change(30, "!e", Expire(GROWN.version_number, GROWN.operation_count, IDLE_US))
    expired = fold_once(small, expiry).state
    assert expired is not None
    assert expired.expired
    assert fold_once(expired, trim(2 * IDLE_US)) == Outcome(expired, Verdict.KNOWN)


@pytest.mark.parametrize("merge", [{"claim": ClaimState("m", "user:2")}, {"merged_into": "user:2"}])
def test_a_cart_that_is_being_merged_is_left_alone(merge: dict[str, object]) -> None:
    state = State(**{**{name: getattr(GROWN, name) for name in GROWN.__struct_fields__}, **merge})
    assert fold_once(state, trim(IDLE_US)) == Outcome(state, Verdict.KNOWN)


def test_an_order_is_still_known() -> None:
    snapshot = state_of(change(20, "a", add("x", 3)))
    ordered = state_of(change(20, "a", add("x", 3)), subtract(40, "order", snapshot))
    assert trimmed(ordered).newest_order == ordered.newest_order > 0


def test_only_a_floor_as_high_covers_a_trimmed_copy() -> None:
    small = trimmed(GROWN)
    later = fold_once(small, change(2 * IDLE_US, "d", add("x", 8))).state
    assert later is not None
    assert uncovered(GROWN, window_of(small)) == [(GROWN.version_number, "")]
    assert put_outcome(later, small.version, window_of(small)) is PutOutcome.REPLACED
    before = state_of(change(20, "a", add("x", 1)))
    assert put_outcome(before, small.version, window_of(small)) is PutOutcome.UNCOVERED


def test_of_one_version_the_trimmed_state_is_put_and_stored_and_the_later_record_kept() -> None:
    small = trimmed(GROWN)
    assert put_outcome(small, GROWN.version, window_of(GROWN)) is PutOutcome.REPLACED
    assert put_outcome(small, small.version, window_of(small)) is PutOutcome.UNCHANGED
    assert put_outcome(GROWN, small.version, window_of(small)) is PutOutcome.UNCHANGED
    assert row_replaced(GROWN.version, small.version, is_smaller=True)
    assert not row_replaced(small.version, GROWN.version)
    assert keep_recovered(GROWN, small) is small
    assert keep_recovered(small, GROWN) is GROWN
