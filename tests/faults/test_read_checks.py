"""What replies may show after what was shown before: each example fails or holds as the promise says."""

from typing import Final

import pytest

from tests.faults.arrived import arrived
from tests.faults.erasure_records import EraseAttempt
from tests.faults.history import Began, Ended, Forgets, Invoke, Ok, Record, faults_told
from tests.faults.versions import a_wipe_takes_back_nothing_durable, reads_never_go_back

CART: Final = "guest:reads-1"
STORES: Final = arrived([])
"""Not asked: replies are compared with replies."""


def _reads(*between: Record, durability: str | None = None) -> list[Record]:
    """A reply that shows a version, something, and a read that shows an older one."""
    return [
        Invoke(at=1, op=1, attempt=1, client=0, cart_id=CART, key="k1" if durability else None),
        Ok(at=2, op=1, attempt=1, version="20-2-0", durability=durability),
        *between,
        Invoke(at=10, op=2, attempt=1, client=1, cart_id=CART),
        Ok(at=11, op=2, attempt=1, version="10-1-0"),
    ]


def _fault(forgets: Forgets) -> list[Record]:
    return [Began(at=4, fault="f", target="redis", forgets=forgets), Ended(at=5, fault="f", target="redis")]


def test_a_read_that_goes_back_is_seen() -> None:
    (violation,) = reads_never_go_back(_reads(), STORES)
    assert violation.what == "read went back"
    assert violation.detail == (
        "request 2 from 10 to 11 was shown 10-1-0; before it request 1 from 1 to 2 was shown 20-2-0"
    )


def test_faults_are_told_with_their_times() -> None:
    told = faults_told(_reads(*_fault(Forgets.EVERYTHING)))
    assert told == ["4 f of redis began", "5 f of redis ended"]


@pytest.mark.parametrize("forgets", [Forgets.EVERYTHING, Forgets.NEWEST])
def test_a_read_may_go_back_where_redis_forgets(forgets: Forgets) -> None:
    assert reads_never_go_back(_reads(*_fault(forgets)), STORES) == []


def test_a_read_may_not_go_back_because_redis_was_killed() -> None:
    assert reads_never_go_back(_reads(*_fault(Forgets.NOTHING)), STORES) != []


@pytest.mark.parametrize(
    ("shown", "erasing", "well"),
    [("20-1-0", True, True), ("20-1-0", False, False), ("10-1-0", True, False)],
)
def test_an_erasure_takes_back_a_count_never_a_version(*, shown: str, erasing: bool, well: bool) -> None:
    erasure = EraseAttempt(at=1, op=3, attempt=1, client=0, cart_id=CART)
    *before, _ = _reads(*[erasure] * erasing)
    history = [*before, Ok(at=11, op=2, attempt=1, version=shown)]
    assert (reads_never_go_back(history, STORES) == []) is well


def test_a_read_after_a_wipe_that_lacks_a_durable_change_is_seen() -> None:
    (violation,) = a_wipe_takes_back_nothing_durable(
        _reads(*_fault(Forgets.EVERYTHING), durability="kafka"), STORES
    )
    assert violation.what == "read went back"


def test_a_read_after_a_wipe_may_lack_what_only_redis_acknowledged() -> None:
    history = _reads(*_fault(Forgets.EVERYTHING), durability="redis")
    assert a_wipe_takes_back_nothing_durable(history, STORES) == []


@pytest.mark.parametrize(
    ("began", "ended", "well"),
    [(3, 4, False), (0, 1, False), (1, 2, True), (0, 3, True), (1, 9, True), (0, 9, True)],
)
def test_a_read_may_lack_a_change_that_was_under_way_during_a_wipe(
    *, began: int, ended: int, well: bool
) -> None:
    # Asked for at 1, acknowledged at 2. Its record may land after the restoration has looked, although nobody
    # has noted the end of the wipe yet.
    history = [
        *_reads(durability="kafka"),
        Began(at=began, fault="FLUSHALL", target="redis", forgets=Forgets.EVERYTHING),
        Ended(at=ended, fault="FLUSHALL", target="redis"),
    ]
    assert (a_wipe_takes_back_nothing_durable(history, STORES) == []) is well


def test_a_read_after_a_wipe_may_count_less_beside_a_durable_change() -> None:
    # What the change was made on had only been in Redis.
    *before, _ = _reads(*_fault(Forgets.EVERYTHING), durability="kafka")
    history = [*before, Ok(at=11, op=2, attempt=1, version="20-1-0")]
    assert a_wipe_takes_back_nothing_durable(history, STORES) == []


def test_a_read_after_a_failover_may_lack_a_durable_change() -> None:
    assert (
        a_wipe_takes_back_nothing_durable(_reads(*_fault(Forgets.NEWEST), durability="kafka"), STORES) == []
    )
