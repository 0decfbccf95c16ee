"""What a batch of records means for the table."""

import itertools

import msgspec
import pytest

from carts.state import State
from sinks.postgres.batch import Batch, newest, row_change
from store.postgres.carts import Deletion, Row
from tests.sinks.cart_records import grow, new_cart_id
from topics.cart_records import interpret
from topics.codec import encode_cart
from topics.errors import RecordError
from topics.headers import Headers, tombstone_headers
from topics.records import cart_record, purge_floor_key_in_carts


def change(key: bytes | None, value: bytes | None, headers: Headers) -> Row | Deletion | None:
    """What a record changes in the table."""
    return row_change(interpret(key, value, headers))


def row(cart_id: str, state: State) -> Row:
    found = change(cart_id.encode(), encode_cart(cart_record(cart_id, state)), [])
    assert isinstance(found, Row)
    return found


def test_a_row_keeps_the_state_byte_for_byte() -> None:
    cart_id = new_cart_id()
    state = grow(cart_id, 3)
    found = row(cart_id, state)
    assert msgspec.json.decode(found.state, type=State) == state
    assert (found.version_number, found.operation_count, found.digest) == (
        state.version_number,
        3,
        state.version.digest,
    )
    assert found.subtotal == 3 * 2 * 1999


def test_the_newest_of_a_cart_wins_in_any_order() -> None:
    cart_id = new_cart_id()
    rows = [row(cart_id, grow(cart_id, operations)) for operations in (1, 2, 3)]
    for order in itertools.permutations([*rows, rows[1]]):
        assert newest(order) == Batch([rows[2]], [])


def test_a_deletion_wins_over_the_version_it_names_and_loses_to_a_later_one() -> None:
    cart_id = new_cart_id()
    seen, later = row(cart_id, grow(cart_id, 2)), row(cart_id, grow(cart_id, 3))
    gone = Deletion(cart_id, seen.version_number, seen.operation_count)
    pair: list[Row | Deletion] = [seen, gone]
    for order in itertools.permutations(pair):
        assert newest(order) == Batch([], [gone])
    for order in itertools.permutations([*pair, later]):
        assert newest(order) == Batch([later], [])


def test_carts_are_sorted_so_that_two_sinks_never_wait_for_each_other() -> None:
    carts = [new_cart_id() for _ in range(20)]
    batch = newest(row(cart_id, grow(cart_id, 1)) for cart_id in carts)
    assert [found.cart_id for found in batch.rows] == sorted(carts)


def test_a_null_deletes_the_version_in_its_header_and_nothing_without_one() -> None:
    cart_id = new_cart_id()
    version = grow(cart_id, 2).version
    assert change(cart_id.encode(), None, []) is None
    assert change(cart_id.encode(), None, tombstone_headers(cart_id, version, None)) == Deletion(
        cart_id, version.number, version.operation_count
    )


def test_a_purge_floor_is_no_cart() -> None:
    assert change(purge_floor_key_in_carts(3), b'{"purge_floor":12}', []) is None


@pytest.mark.parametrize(
    "value",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"cart_id":"user:1"}', b"null"],
    ids=["empty", "not UTF-8", "a list", "an empty object", "half a record", "JSON null"],
)
def test_what_nobody_can_read_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        change(b"user:1", value, [])


def test_a_record_under_another_carts_key_is_refused() -> None:
    cart_id = new_cart_id()
    with pytest.raises(RecordError):
        change(b"user:other", encode_cart(cart_record(cart_id, grow(cart_id, 1))), [])
