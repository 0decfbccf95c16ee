"""What clients notice of a fault is counted from its begin to the next one."""

from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import Began, Ended, Fail, Invoke, Ok, Record, Unknown
from tests.faults.order_records import CheckOut, OrderAttempt
from tests.faults.windows import failures, unexplained, windows

SECOND = 1_000_000


def asked(op: int, at: float) -> Invoke:
    return Invoke(at=int(at * SECOND), op=op, attempt=1, client=0, cart_id="guest:1", key=str(op))


def test_each_fault_has_the_requests_until_the_next_one() -> None:
    failed, refused, slow, quick = asked(1, 2), asked(2, 3), asked(3, 4), asked(4, 11)
    first, second = windows(
        [
            Began(at=1 * SECOND, fault="one", target="kafka"),
            failed,
            Unknown(at=int(2.5 * SECOND), op=1, attempt=1, reason="TimeoutError"),
            refused,
            Fail(at=int(3.1 * SECOND), op=2, attempt=1, reason="line-not-found"),
            slow,
            Began(at=10 * SECOND, fault="two", target="kafka"),
            # Asked before the second fault: it belongs to the first.
            Ok(at=12 * SECOND, op=3, attempt=1, version="1"),
            quick,
            Ok(at=int(11.1 * SECOND), op=4, attempt=1, version="2"),
        ]
    )
    assert (first.asked, first.slow, first.failed, first.seconds) == (3, 1, {"TimeoutError": 1}, 10.0)
    assert (second.asked, second.slow, second.failed, second.seconds) == (1, 0, {}, 0.0)


def test_a_failure_is_explained_by_a_fault_that_lasted_while_it_was_under_way() -> None:
    before, early, late, after = asked(1, 1), asked(2, 9), asked(3, 19), asked(4, 21)
    failed = {op: Unknown(at=int(at * SECOND), op=op, attempt=1, reason="x") for op, at in ((1, 2), (2, 11))}
    failed |= {
        op: Unknown(at=int(at * SECOND), op=op, attempt=1, reason="x") for op, at in ((3, 25), (4, 22))
    }
    began = Began(at=10 * SECOND, fault="one", target="redis")
    ended = Ended(at=20 * SECOND, fault="one", target="redis")
    history: list[Record] = [
        before,
        failed[1],
        early,
        began,
        failed[2],
        late,
        ended,
        after,
        failed[4],
        failed[3],
    ]
    assert unexplained(history) == [failed[1], failed[4]]


def test_a_key_whose_order_was_erased_is_no_failure() -> None:
    def asked_for(op: int, attempt: int, at: int, cart_id: str = "a") -> OrderAttempt:
        return OrderAttempt(
            at=at, op=op, attempt=attempt, client=0, cart_id=cart_id, order_request=CheckOut(), key=str(op)
        )

    def reused(op: int, attempt: int, at: int) -> Fail:
        return Fail(at=at, op=op, attempt=attempt, reason="idempotency-key-reused")

    too_early, again, elsewhere, fresh = reused(1, 1, 2), reused(2, 2, 21), reused(3, 2, 31), reused(4, 1, 41)
    history: list[Record] = [
        asked_for(1, 1, 1),
        too_early,
        asked_for(2, 1, 5),
        asked_for(3, 1, 6, "b"),
        EraseAttempt(at=10, op=9, attempt=1, client=0, cart_id="a"),
        Erased(at=12, op=9, attempt=1, erasure_id="e", version=1, complete=True),
        asked_for(2, 2, 20),
        again,
        asked_for(3, 2, 30, "b"),
        elsewhere,
        asked_for(4, 1, 40),
        fresh,
    ]
    assert failures(history) == [too_early, elsewhere, fresh]
