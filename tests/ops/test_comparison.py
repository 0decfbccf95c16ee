"""What counts as a discrepancy, and what is only in flight: the decisions alone."""

from typing import Any

import msgspec
import pytest

from carts.protocol import Deleted
from carts.state import State, Version
from carts.view import view
from ops.comparison import MEANING, Copies, Discrepancy, Kind, RedisCopy, RowCopy, Suspects, discrepancies
from ops.fingerprint import fingerprint, shown
from tests.sinks.cart_records import expire, grow

CART = "user:1"


def seen(state: State) -> bytes:
    return fingerprint(shown(view(CART, state)))


def redis(state: State) -> RedisCopy:
    return RedisCopy(state.version, seen(state), tuple((op.version, op.op_id) for op in state.ops))


def row(state: State) -> RowCopy:
    return RowCopy(state.version, seen(state))


def kinds(**copies: Any) -> list[Kind]:
    whole: dict[str, Any] = {"recorded": None, "purge_floor": 0, "redis": None, "row": None, **copies}
    return [each.kind for each in discrepancies(Copies(partition=0, cart_id=CART, **whole))]


OLD, NEW = grow(CART, 1), grow(CART, 2)
GONE = Deleted(NEW.version)


def test_equal_copies_and_an_absent_redis_are_no_difference() -> None:
    assert kinds(recorded=NEW, redis=redis(NEW), row=row(NEW)) == []
    assert kinds(recorded=NEW, row=row(NEW)) == []
    assert kinds(recorded=GONE) == []
    assert kinds() == []


@pytest.mark.parametrize(
    ("copies", "kind"),
    [
        ({"recorded": NEW, "redis": redis(OLD), "row": row(NEW)}, Kind.REDIS_BEHIND),
        ({"recorded": OLD, "redis": redis(NEW), "row": row(OLD)}, Kind.REDIS_UNCOVERED),
        ({"redis": redis(NEW)}, Kind.REDIS_UNCOVERED),
        ({"recorded": Deleted(OLD.version), "redis": redis(NEW)}, Kind.REDIS_UNCOVERED),
        ({"recorded": GONE, "redis": redis(OLD)}, Kind.REDIS_DELETED),
        ({"purge_floor": NEW.version_number, "redis": redis(NEW)}, Kind.REDIS_DELETED),
        ({"recorded": NEW}, Kind.ROW_MISSING),
        ({"recorded": NEW, "row": row(OLD)}, Kind.ROW_BEHIND),
        ({"recorded": OLD, "row": row(NEW)}, Kind.ROW_AHEAD),
        ({"recorded": NEW, "row": RowCopy(NEW.version, b"")}, Kind.ROW_DIFFERS),
        (
            {"recorded": NEW, "row": RowCopy(Version(NEW.version_number, NEW.operation_count, 1), seen(NEW))},
            Kind.ROW_DIFFERS,
        ),
        ({"recorded": GONE, "row": row(OLD)}, Kind.ROW_DELETED),
        ({"purge_floor": NEW.version_number, "row": row(NEW)}, Kind.ROW_DELETED),
        ({"row": row(NEW)}, Kind.ROW_UNRECORDED),
        ({"recorded": Deleted(OLD.version), "row": row(NEW)}, Kind.ROW_UNRECORDED),
    ],
)
def test_each_kind_is_told(copies: dict[str, Any], kind: Kind) -> None:
    assert kinds(**copies) == [kind]


def test_the_same_version_with_other_lines_is_told() -> None:
    forged = msgspec.structs.replace(redis(NEW), fingerprint=seen(OLD))
    assert kinds(recorded=NEW, redis=forged, row=row(NEW)) == [Kind.REDIS_DIFFERS]


def test_an_expired_cart_is_absent_from_redis() -> None:
    expired = expire(CART, NEW)
    assert kinds(recorded=expired, row=row(expired)) == []
    assert kinds(recorded=expired, redis=redis(NEW), row=row(expired)) == [Kind.REDIS_BEHIND]


def test_every_kind_says_what_to_do() -> None:
    assert MEANING.keys() == set(Kind)


def test_numbers_are_the_same_however_a_store_writes_them() -> None:
    plain = shown(view(CART, NEW))
    one = msgspec.structs.replace(plain, metadata={"a": [1e2, True], "b": {"c": 1}})
    other = msgspec.structs.replace(plain, metadata={"b": {"c": 1.0}, "a": [100, True]})
    assert fingerprint(one) == fingerprint(other) != fingerprint(plain)


def found(*evidence: str, kind: Kind = Kind.ROW_BEHIND) -> list[Discrepancy]:
    return [Discrepancy(kind, 0, CART, frozenset(evidence), "")]


def test_a_difference_counts_when_it_stands_still() -> None:
    suspects = Suspects()
    for _ in range(3):
        assert suspects.confirmed() == []
        suspects.look(found("1-1"))
    assert [each.kind for each in suspects.confirmed()] == [Kind.ROW_BEHIND]
    assert suspects.settled
    assert suspects.moving() == 0


def test_a_store_that_gets_on_is_only_behind() -> None:
    suspects = Suspects()
    for number in range(5):
        suspects.look(found(f"{number}-1"))
    assert suspects.confirmed() == []
    assert suspects.moving() == 1
    assert not suspects.settled


def test_what_has_landed_is_forgotten() -> None:
    suspects = Suspects()
    suspects.look(found("1-1"))
    suspects.look([])
    assert suspects.settled
    assert suspects.carts == set()


def test_one_operation_that_never_arrives_counts_among_others_that_do() -> None:
    suspects = Suspects()
    for number in range(3):
        suspects.look(found("lost", f"in flight {number}", kind=Kind.REDIS_UNCOVERED))
    assert len(suspects.confirmed()) == 1
