"""The rules of fold one by one: windows, attempts, expiries, orders, deletion, seeds."""

import msgspec
import pytest

from carts.fold import Outcome, Verdict, fold
from carts.limits import TIMING as PRODUCT_TIMING
from carts.operations import (
    DUPLICATE,
    Change,
    Claim,
    Duplicate,
    Expire,
    Purge,
    Remove,
    Seed,
    Void,
)
from carts.state import EXPIRY_PREFIX, VOID_PREFIX, State, Status, uncovered, union
from tests.carts.histories import TIMING, add, change, put, quantities, state_of, subtract


def fold_once(state: State | None, made: Change, purge_floor: int = 0, retention_us: int = 0) -> Outcome:
    """One fold with the times of the tests."""
    return fold(state, made, purge_floor=purge_floor, retention_us=retention_us, timing=TIMING)


def expire(state: State, at: int) -> Change:
    """The expiry of `state`, decided at this time."""
    return change(state.version_number, "!e", Expire(state.version_number, state.operation_count, at))


def purge(state: State, at: int) -> Change:
    """The purge of `state`, decided at this time."""
    return change(state.version_number, "!p", Purge(state.version_number, state.operation_count, at))


def expired(state: State, at: int = 100) -> State:
    """`state` after its expiry."""
    after = fold_once(state, expire(state, at)).state
    assert after is not None
    assert after.expired
    return after


# Window and floor


def test_the_first_change_makes_the_cart() -> None:
    state = state_of(change(20, "a", add("x", 1)))
    assert (state.version_number, state.operation_count, state.born, state.floor) == (20, 1, 20, 0)


def test_entries_older_than_the_window_go_into_the_base_and_still_count() -> None:
    state = state_of(
        change(20, "a", add("x", 1)), change(22, "b", add("x", 2)), change(200, "c", add("x", 4))
    )
    assert [op.op_id for op in state.ops] == ["c"]
    assert state.trimmed == 2
    assert state.operation_count == 3
    assert quantities(state) == {"x": 7}


def test_the_floor_follows_the_newest_write_after_every_fold() -> None:
    assert state_of(change(500, "a", add("x", 1))).floor == 500 - 100 - 1


def test_an_entry_exactly_a_window_old_stays() -> None:
    state = state_of(change(100, "a", add("x", 1)), change(200, "b", add("x", 1)))
    assert [op.op_id for op in state.ops] == ["a", "b"]


def test_a_change_at_or_below_the_floor_is_taken_for_a_duplicate() -> None:
    state = state_of(change(500, "a", add("x", 1)))
    assert fold_once(state, change(399, "b", add("x", 1))) == Outcome(state, Verdict.BELOW_FLOOR)


def test_a_late_change_just_above_the_floor_counts() -> None:
    state = state_of(change(500, "a", add("x", 1)), change(400, "b", add("x", 2)))
    assert quantities(state) == {"x": 3}


def test_a_late_set_does_not_decide_over_a_later_one() -> None:
    state = state_of(change(60, "a", put("x", 7)), change(40, "b", put("x", 3)))
    assert quantities(state) == {"x": 7}


def test_a_large_cart_of_lines_with_options_and_metadata_can_be_trimmed() -> None:
    """Steps hold dictionaries: nothing may need their hash."""
    step = msgspec.structs.replace(add("x", 1), metadata={"note": {"deep": [1]}})
    state = state_of(change(20, "a", step), change(400, "b", step))
    assert state.trimmed == 1


def test_the_product_window_is_longer_than_retry_horizon_and_deadlines() -> None:
    assert PRODUCT_TIMING.window_us > (
        PRODUCT_TIMING.retry_horizon_us
        + 2 * PRODUCT_TIMING.publish_deadline_us
        + PRODUCT_TIMING.republish_margin_us
    )


# Attempts


def test_an_operation_born_twice_counts_once_at_its_higher_version() -> None:
    state = state_of(change(20, "a", put("x", 1)), change(30, "b", put("x", 2)), change(40, "a", put("x", 1)))
    assert quantities(state) == {"x": 1}
    assert state.operation_count == 3


def test_a_second_attempt_keeps_the_payload_of_the_first() -> None:
    state = state_of(change(20, "a", put("x", 1, unit_price=5)), change(40, "a", put("x", 1, unit_price=6)))
    assert state.ops[0].delta == state.ops[1].delta
    assert state.content().lines["x"].unit_price == 5


def test_an_attempt_is_covered_only_by_itself_or_a_higher_one() -> None:
    state = state_of(change(20, "a", add("x", 1)))
    assert uncovered(state, [(20, "a"), (10, "a")]) == []
    assert uncovered(state, [(40, "a")]) == [(40, "a")]


def test_what_lies_at_or_below_the_floor_is_covered() -> None:
    state = state_of(change(500, "a", add("x", 1)))
    assert uncovered(state, [(399, "b"), (400, "c")]) == [(400, "c")]


# Expiry


def test_an_expiry_clears_the_cart_with_an_odd_version_from_the_clock() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))), at=100)
    assert state.ops[-1].version == 201
    assert quantities(state) == {}
    assert state.status is Status.EXPIRED


@pytest.mark.parametrize("highest", [20, 21])
def test_an_expiry_comes_after_everything_even_if_its_clock_is_behind(highest: int) -> None:
    state = expired(state_of(change(highest, "a", add("x", 1))), at=1)
    assert state.version_number > highest
    assert state.version_number % 2 == 1


def test_an_expiry_of_a_state_that_has_changed_since_does_nothing() -> None:
    state = state_of(change(20, "a", add("x", 1)))
    newer = state_of(change(20, "a", add("x", 1)), change(22, "b", add("x", 1)))
    assert fold_once(newer, expire(state, 100)) == Outcome(newer, Verdict.KNOWN)


def test_an_expired_cart_does_not_expire_again() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    assert fold_once(state, expire(state, 200)).verdict is Verdict.KNOWN
    assert fold_once(None, expire(state, 200)) == Outcome(None, Verdict.KNOWN)


def test_an_expiry_does_not_move_the_floor() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))), at=10_000)
    assert state.floor == 0
    late = fold_once(state, change(30, "b", add("x", 2), prev=20)).state
    assert late is not None
    assert late.floor == 0


def test_the_write_that_follows_the_state_expired_revives_the_cart() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    revived = fold_once(state, change(30, "b", add("x", 2), prev=20)).state
    assert revived is not None
    assert not revived.expired
    assert quantities(revived) == {"x": 3}


def test_a_write_on_an_unknown_fork_revives_the_cart_too() -> None:
    """Its copy had a write that never arrived: neither knew of the other."""
    state = expired(state_of(change(20, "a", add("x", 1))))
    revived = fold_once(state, change(32, "c", add("x", 4), prev=30)).state
    assert revived is not None
    assert quantities(revived) == {"x": 5}


def test_a_write_that_knew_of_the_expiry_begins_an_empty_cart() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    after = fold_once(state, change(300, "b", add("x", 2), prev=state.version_number)).state
    assert after is not None
    assert not after.expired
    assert quantities(after) == {"x": 2}


def test_a_late_write_from_before_the_state_expired_does_not_revive_it() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    after = fold_once(state, change(18, "b", add("x", 2), prev=0)).state
    assert after is not None
    assert after.expired


def test_a_republished_write_knows_nothing_of_copies_and_voids_nothing() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    after = fold_once(state, change(30, "b", add("x", 2))).state
    assert after is not None
    assert after.expired


def test_a_known_write_still_voids_an_expiry_it_did_not_know() -> None:
    """The expiry came from a copy that lacked the write: delivered again, it revives the cart once."""
    state = state_of(change(20, "a", add("x", 1)), change(30, "b", add("x", 2), prev=20))
    gone = expired(msgspec.structs.replace(state, ops=state.ops[:1]))
    united = union(state, gone)
    outcome = fold_once(united, change(30, "b", add("x", 2), prev=20))
    assert outcome.verdict is Verdict.CHANGED
    assert outcome.state is not None
    assert quantities(outcome.state) == {"x": 3}
    assert fold_once(outcome.state, change(30, "b", add("x", 2), prev=20)).verdict is Verdict.KNOWN


def test_an_expiry_that_has_left_the_window_stays_effective() -> None:
    state = expired(state_of(change(20, "a", add("x", 1))))
    after = fold_once(state, change(900, "b", add("x", 2), prev=state.version_number)).state
    assert after is not None
    assert after.trimmed == 2
    assert quantities(after) == {"x": 2}


# Orders


def test_an_order_takes_its_lines_and_later_adds_survive() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    state = state_of(change(20, "a", add("x", 2)), change(22, "b", add("x", 1)), subtract(24, "s", snapshot))
    assert quantities(state) == {"x": 1}
    assert state.newest_order == 20


def test_a_retried_add_that_was_ordered_does_not_come_back() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    state = state_of(change(20, "a", add("x", 2)), subtract(24, "s", snapshot), change(30, "a", add("x", 2)))
    assert quantities(state) == {}
    assert state.ops[-1].delta == DUPLICATE


def test_the_second_attempt_of_an_ordered_add_may_come_before_its_order() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    state = state_of(change(20, "a", add("x", 2)), change(30, "a", add("x", 2)), subtract(24, "s", snapshot))
    assert quantities(state) == {}


def test_a_duplicate_stays_one_after_its_order_has_left_the_window() -> None:
    snapshot = state_of(change(100, "a", add("x", 2)))
    state = state_of(
        change(100, "a", add("x", 2)),
        subtract(104, "s", snapshot),
        change(130, "a", add("x", 2)),
        change(220, "b", add("y", 1)),
    )
    assert [op.op_id for op in state.ops] == ["a", "b"]
    assert quantities(state) == {"y": 1}


def test_union_prefers_the_duplicate() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    ordered = state_of(
        change(20, "a", add("x", 2)), subtract(24, "s", snapshot), change(30, "a", add("x", 2))
    )
    stale = state_of(change(30, "a", add("x", 2)))
    assert quantities(union(ordered, stale)) == quantities(union(stale, ordered)) == {}


def test_a_claim_born_twice_counts_once_whatever_comes_first() -> None:
    first = change(22, "!claim/m", Claim(merge_id="m", into="user:2"))
    order = subtract(24, "s1", state_of(first))
    again = msgspec.structs.replace(first, version=30)
    assert state_of(first, order, again) == state_of(order, again, first)


def test_an_order_that_has_left_the_window_is_still_known() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    state = state_of(change(20, "a", add("x", 2)), subtract(24, "s", snapshot), change(300, "b", add("x", 1)))
    assert state.ordered_version == 20
    assert uncovered(state, [(24, "s")]) == []
    after = state
    for v in (310, 310, 320):
        folded = fold_once(after, subtract(v, "s", snapshot)).state
        assert folded is not None
        after = folded
    assert quantities(after) == quantities(state)
    assert [(op.version, op.delta) for op in after.ops[1:]] == [(310, DUPLICATE), (320, DUPLICATE)]
    assert uncovered(after, [(310, "s"), (320, "s")]) == []


def test_a_cart_keeps_of_all_its_orders_the_newest_snapshot() -> None:
    state = state_of(change(10, "a", add("y", 1)), change(12, "b", Remove("y")))
    for number in range(300):
        for made in (change(20 + 300 * number, f"a{number}", add("x", 2)), None):
            order = made or subtract(30 + 300 * number, f"s{number}", state)
            state = fold_once(state, order).state or state
    assert state.newest_order == 20 + 300 * 299
    assert len(msgspec.json.encode(state)) < 600
    assert quantities(state) == {}


def test_an_order_born_twice_counts_once_whatever_comes_first() -> None:
    snapshot = state_of(change(20, "a", add("x", 5)))
    one = state_of(change(20, "a", add("x", 5)), subtract(24, "s", snapshot), subtract(30, "s", snapshot))
    other = state_of(change(20, "a", add("x", 5)), subtract(30, "s", snapshot), subtract(24, "s", snapshot))
    assert one == other
    assert quantities(one) == {}
    assert one.newest_order == 20


def test_a_second_attempt_of_an_order_is_covered_by_itself_while_the_first_is_in_the_window() -> None:
    """Else the version of a copy that has the second attempt would fall back to the first."""
    snapshot = state_of(change(20, "a", add("x", 5)))
    state = state_of(change(20, "a", add("x", 5)), subtract(24, "s", snapshot))
    assert uncovered(state, [(30, "s")]) == [(30, "s")]


# Deletion


def test_a_purge_deletes_only_what_it_saw_and_long_enough_after_the_expiry() -> None:
    alive = state_of(change(20, "a", add("x", 1)))
    state = expired(alive, at=100)
    assert fold_once(state, purge(state, 1_000), retention_us=500) == Outcome(None, Verdict.DELETED)
    assert fold_once(state, purge(state, 600), retention_us=500).verdict is Verdict.KNOWN
    assert fold_once(alive, purge(alive, 1_000), retention_us=500).verdict is Verdict.KNOWN
    assert fold_once(state, purge(alive, 1_000), retention_us=500).verdict is Verdict.KNOWN
    assert fold_once(None, purge(state, 1_000), retention_us=500) == Outcome(None, Verdict.KNOWN)


def test_nothing_at_or_below_the_purge_floor_comes_back() -> None:
    assert fold_once(None, change(200, "a", add("x", 1)), purge_floor=200) == Outcome(None, Verdict.REFUSED)


def test_a_cart_born_after_a_deletion_starts_at_the_purge_floor() -> None:
    state = fold_once(None, change(202, "a", add("x", 1)), purge_floor=200).state
    assert state is not None
    assert (state.floor, state.start, state.operation_count) == (200, 200, 1)


def test_an_order_from_before_the_deletion_takes_nothing_from_the_cart_after_it() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    state = fold_once(None, change(202, "b", add("x", 2)), purge_floor=200).state
    after = fold_once(state, subtract(210, "s", snapshot)).state
    assert after is not None
    assert quantities(after) == {"x": 2}


# Seeds and what this version does not know


def test_a_seed_makes_a_cart_and_unites_with_one_that_is_there() -> None:
    seed = state_of(change(20, "a", add("x", 1)), change(22, "b", add("x", 2)))
    made = change(22, "!s", Seed(msgspec.to_builtins(seed)))
    assert fold_once(None, made).state == seed
    there = state_of(change(22, "b", add("x", 2)), change(24, "c", add("x", 4)))
    united = fold_once(there, made).state
    assert united is not None
    assert quantities(united) == {"x": 7}
    assert fold_once(united, made).verdict is Verdict.KNOWN


def test_a_seed_does_not_bring_back_what_was_deleted() -> None:
    seed = state_of(change(20, "a", add("x", 1)))
    made = change(20, "!s", Seed(msgspec.to_builtins(seed)))
    assert fold_once(None, made, purge_floor=20) == Outcome(None, Verdict.REFUSED)


@pytest.mark.parametrize(
    "made",
    [
        change(30, "a"),
        change(30, "a", Duplicate()),
        change(30, "a", Void()),
        change(30, "a", Remove("x"), Purge(20, 1, 0)),
        change(30, f"{EXPIRY_PREFIX}20-1", add("x", 1)),
        change(30, f"{VOID_PREFIX}20-1", add("x", 1)),
        change(30, "a", Seed({"ops": "none"})),
    ],
)
def test_what_fold_cannot_fold_is_unsupported_and_changes_nothing(made: Change) -> None:
    state = state_of(change(20, "a", add("x", 1)))
    assert fold_once(state, made) == Outcome(state, Verdict.UNSUPPORTED)
