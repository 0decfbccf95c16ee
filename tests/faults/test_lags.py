"""Of all looks at the groups the worst is told, with what went on then."""

from tests.faults.history import Began
from tests.faults.lags import Look, Worst, worst


def test_the_worst_is_told_with_what_had_begun_last_by_then() -> None:
    looks = [Look(1, "a", 0.5), Look(15, "a", 7.0), Look(25, "a", 6.0), Look(5, "b", 0.0)]
    history = [Began(at=10, fault="restart", target="jobs"), Began(at=20, fault="restart", target="merges")]
    assert worst(looks, history) == {"a": Worst(7.0, "restart jobs"), "b": Worst(0.0, "-")}
