"""What a reader sees, and the versions that name it."""

from datetime import UTC, datetime

import pytest

from carts.operations import Remove, SetMetadata
from carts.state import State, Status, Version
from carts.view import time_of, view
from tests.carts.histories import add, change, state_of
from tests.carts.test_fold import expired


def test_a_cart_that_was_never_written_is_empty_and_has_version_zero() -> None:
    seen = view("user:1", State())
    assert (seen.version, seen.lines, seen.totals.subtotal) == ("0-0-000000000000", [], 0)
    assert (seen.status, seen.created_at, seen.updated_at) == (Status.ACTIVE, None, None)


def test_a_reader_sees_positive_lines_oldest_first_with_totals() -> None:
    state = state_of(
        change(20, "a", add("x", 2, 150), add("y", 1, 99)),
        change(22, "b", Remove("y")),
        change(24, "c", add("z", 1, 1), SetMetadata({"note": "gift"})),
    )
    seen = view("user:1", state)
    assert [(line.line_id, line.quantity, line.unit_price) for line in seen.lines] == [
        ("x", 2, 150),
        ("z", 1, 1),
    ]
    assert seen.totals.subtotal == seen.totals.total == 301
    assert (seen.currency, seen.metadata) == ("EUR", {"note": "gift"})
    assert (seen.created_at, seen.updated_at) == (time_of(20), time_of(24))


def test_an_expired_cart_shows_no_lines() -> None:
    seen = view("user:1", expired(state_of(change(20, "a", add("x", 2)))))
    assert (seen.status, seen.lines, seen.totals.total) == (Status.EXPIRED, [], 0)


def test_versions_count_half_microseconds() -> None:
    assert time_of(2 * 1_700_000_000_000_001) == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    assert time_of(0) is None


def test_a_version_survives_its_tag() -> None:
    version = Version(2**53 - 1, 12, 2**48 - 1)
    assert version.tag() == "9007199254740991-12-ffffffffffff"
    assert Version.parse(version.tag()) == version


@pytest.mark.parametrize(
    "tag", ["", "*", "1-2", "1-2-3", "1-2-fffffffffffF", "a-2-ffffffffffff", "1-2-ffffffffffff "]
)
def test_what_is_not_a_tag(tag: str) -> None:
    assert Version.parse(tag) is None
