"""What clients notice of a fault is counted from its begin to the next one."""

from tests.faults.history import Began, Fail, Invoke, Ok, Unknown
from tests.faults.windows import windows

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
