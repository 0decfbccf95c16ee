"""A gateway that is sick alone: it is seen when it holds back the other one, and when it does not."""

from tests.faults.history import Began, Ended, Invoke, Ok, Record
from tests.faults.schedule import Kind
from tests.faults.sick_gateway import a_sick_gateway_holds_back_nobody
from tests.faults.stores import Stores
from tests.faults.topology import ALONE

SECOND = 1_000_000
NOTHING = Stores(published=[], records={}, redis={}, rows={})


def _run(kind: Kind, durability: str, gateway: int = 0) -> list[Record]:
    """Thirty changes by one gateway, a second each, while the other one is sick."""
    changes: list[Record] = [
        record
        for op in range(30)
        for record in (
            Invoke(at=op * SECOND, op=op, attempt=1, client=0, cart_id="c", key="k", gateway=gateway),
            Ok(at=op * SECOND + 1, op=op, attempt=1, version="1-1-0", durability=durability),
        )
    ]
    began = Began(at=0, fault=kind, target=ALONE)
    return [began, *changes, Ended(at=40 * SECOND, fault=kind, target=ALONE)]


def test_a_healthy_gateway_that_is_held_back_is_seen() -> None:
    (violation,) = a_sick_gateway_holds_back_nobody(_run(Kind.CUT_ALONE, "redis"), NOTHING)
    assert violation.what == "held back"


def test_a_healthy_gateway_that_publishes_is_well() -> None:
    assert a_sick_gateway_holds_back_nobody(_run(Kind.CLOCK_AHEAD, "kafka"), NOTHING) == []


def test_the_sick_gateway_itself_may_publish_nothing() -> None:
    assert a_sick_gateway_holds_back_nobody(_run(Kind.CUT_ALONE, "redis", gateway=1), NOTHING) == []


def test_nobody_is_to_blame_for_an_outage_of_kafka() -> None:
    assert a_sick_gateway_holds_back_nobody(_run(Kind.CUT, "redis"), NOTHING) == []
