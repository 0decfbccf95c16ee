"""The decisions between the stores, at their edges. What each is for, `tests/model` shows."""

import pytest

from carts import protocol
from carts.protocol import Deleted, Durability, PutOutcome, Recorded
from carts.state import State, Version
from tests.carts.histories import TIMING, add, change, state_of
from tests.carts.test_fold import expired

ONE = state_of(change(20, "a", add("x", 1)))
TWO = state_of(change(20, "a", add("x", 1)), change(22, "b", add("x", 1)))
W, HR, D = TIMING.window_us, TIMING.retry_horizon_us, TIMING.publish_deadline_us


@pytest.mark.parametrize(("previous", "time", "v"), [(0, 10, 20), (20, 10, 22), (21, 10, 22), (20, 50, 100)])
def test_a_version_is_even_above_the_one_before_and_not_behind_the_clock(
    previous: int, time: int, v: int
) -> None:
    assert protocol.next_version(previous, time) == v


def test_a_request_is_taken_until_the_retry_horizon() -> None:
    assert protocol.request_in_time(100 + HR, 100, TIMING)
    assert not protocol.request_in_time(101 + HR, 100, TIMING)


def test_nothing_is_published_past_an_entry_older_than_the_deadline() -> None:
    assert protocol.publish_allowed(D, TIMING)
    assert not protocol.publish_allowed(D + 1, TIMING)


def test_a_change_is_published_until_the_deadline_after_its_script_or_its_reading() -> None:
    assert protocol.publish_in_time(100 + D, 100, TIMING)
    assert not protocol.publish_in_time(101 + D, 100, TIMING)


def test_an_operation_is_in_kafka_when_its_entry_has_left_the_outbox() -> None:
    assert protocol.durability_at_once(in_outbox=False) is Durability.KAFKA
    assert protocol.durability_at_once(in_outbox=True) is Durability.REDIS


def test_postgres_has_an_operation_in_its_window_or_its_base() -> None:
    assert protocol.reached_postgres(ONE, "a", 20)
    assert not protocol.reached_postgres(ONE, "b", 22)
    assert not protocol.reached_postgres(None, "a", 20)
    assert protocol.reached_postgres(state_of(change(500, "c", add("x", 1))), "a", 20)


def test_postgres_has_the_attempt_that_was_acknowledged_or_a_later_one() -> None:
    """A retry on a copy that had fallen back is a second attempt: the row with the first lacks it."""
    assert not protocol.reached_postgres(ONE, "a", 22)
    both = state_of(change(20, "a", add("x", 1)), change(24, "a", add("x", 1)))
    assert protocol.reached_postgres(both, "a", 22)


def test_a_put_sets_what_is_absent_or_covered() -> None:
    assert protocol.put_outcome(ONE, None, []) is PutOutcome.STORED
    assert protocol.put_outcome(TWO, ONE.version, [(20, "a")]) is PutOutcome.REPLACED
    assert protocol.put_outcome(ONE, ONE.version, [(20, "a")]) is PutOutcome.UNCHANGED
    assert protocol.put_outcome(ONE, TWO.version, [(20, "a"), (22, "b")]) is PutOutcome.UNCOVERED


def test_a_state_of_some_time_ago_replaces_copies_and_nothing_else() -> None:
    assert protocol.replace_outcome(ONE, None, []) is PutOutcome.ABSENT
    assert protocol.replace_outcome(TWO, ONE.version, [(20, "a")]) is PutOutcome.REPLACED
    assert protocol.replace_outcome(ONE, ONE.version, [(20, "a")]) is PutOutcome.REPLACED
    assert protocol.replace_outcome(ONE, TWO.version, [(20, "a"), (22, "b")]) is PutOutcome.UNCOVERED


def test_a_put_does_not_compare_versions() -> None:
    """A copy that counted an operation the log has dropped has the higher version and says no more."""
    assert protocol.put_outcome(ONE, Version(20, 2, 7), [(20, "a")]) is PutOutcome.REPLACED


def test_an_expired_state_is_put_like_any_other() -> None:
    gone = expired(ONE)
    assert protocol.put_outcome(gone, None, []) is PutOutcome.STORED
    assert protocol.put_outcome(gone, ONE.version, [(20, "a")]) is PutOutcome.REPLACED
    assert protocol.put_outcome(gone, TWO.version, [(20, "a"), (22, "b")]) is PutOutcome.UNCOVERED


def test_a_deletion_clears_a_copy_that_knows_nothing_newer() -> None:
    deleted = Deleted(Version(21, 2, 0))
    assert protocol.deletion_clears(deleted, ONE.version, [(20, "a")])
    assert not protocol.deletion_clears(deleted, TWO.version, [(20, "a"), (22, "b")])
    assert not protocol.deletion_clears(deleted, ONE.version, [(22, "b")])


def test_a_copy_is_stale_after_the_horizon() -> None:
    assert not protocol.too_stale(200, 150, 50)
    assert protocol.too_stale(199, 150, 50)


def test_anti_entropy_publishes_young_operations_that_no_outbox_holds() -> None:
    youngest = W - HR - D - TIMING.republish_margin_us
    assert protocol.may_republish(200, 100 + youngest, TIMING, in_outbox=False)
    assert not protocol.may_republish(200, 101 + youngest, TIMING, in_outbox=False)
    assert not protocol.may_republish(200, 100, TIMING, in_outbox=True)


def test_a_restore_goes_on_where_its_token_and_step_are_found() -> None:
    assert protocol.restore_continues("t", 3, "t", 3)
    assert not protocol.restore_continues("t", 3, "t", 2)
    assert not protocol.restore_continues("t", 0, None, 0)


@pytest.mark.parametrize(
    ("kept", "read", "wins"),
    [
        (None, ONE, ONE),
        (ONE, TWO, TWO),
        (TWO, ONE, TWO),
        (ONE, Deleted(ONE.version), Deleted(ONE.version)),
        (Deleted(ONE.version), ONE, Deleted(ONE.version)),
        (TWO, Deleted(ONE.version), TWO),
        (Deleted(ONE.version), TWO, TWO),
    ],
)
def test_a_recovery_keeps_the_highest_record_and_at_a_tie_the_deletion(
    kept: Recorded | None, read: Recorded, wins: Recorded
) -> None:
    assert protocol.keep_recovered(kept, read) == wins


@pytest.mark.parametrize(
    ("own", "read", "purge_floor", "again"),
    [
        (TWO, ONE, 0, True),
        (ONE, ONE, 0, False),
        (ONE, TWO, 0, False),
        (TWO, Deleted(ONE.version), 20, True),
        (None, ONE, 20, True),
        (None, ONE, 19, False),
        (None, Deleted(ONE.version), 20, False),
    ],
)
def test_an_owner_answers_a_record_that_fell_behind_its_table(
    own: State | None, read: Recorded, purge_floor: int, *, again: bool
) -> None:
    assert protocol.emit_again(own, read, purge_floor) is again


def test_rows_go_by_version() -> None:
    assert protocol.row_replaced(None, ONE.version)
    assert protocol.row_replaced(ONE.version, TWO.version)
    assert not protocol.row_replaced(ONE.version, ONE.version)
    assert protocol.row_deleted(ONE.version, Deleted(ONE.version))
    assert not protocol.row_deleted(TWO.version, Deleted(ONE.version))
