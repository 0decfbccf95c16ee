"""What of `carts` goes where when carts move to another number of partitions, decided without servers."""

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from carts.state import Version
from ops.carts_copy import floors_after, sort_records
from topics.codec import encode_purge_floor
from topics.headers import Headers, tombstone_headers
from topics.partitioner import partition_of
from topics.records import PurgeFloor, purge_floor_key_in_carts

OLD, NEW = 16, 48
GONE = Version(1000, 3, 5)


def record(
    key: bytes | None, value: bytes | None, headers: Headers | None = None, partition: int | None = None
) -> "ConsumerRecord[bytes, bytes]":
    """A record of `carts`, by default where its key belongs."""
    place = partition if partition is not None else partition_of(key or b"", OLD)
    return ConsumerRecord("carts", place, 0, 0, 0, key, value, None, 0, 0, tuple(headers or ()))


def deletion(key: bytes) -> "ConsumerRecord[bytes, bytes]":
    return record(key, None, tombstone_headers(key.decode(), GONE, None))


def test_every_state_goes_to_its_cart_s_partition_and_keeps_its_order() -> None:
    keys = [f"user:{number}".encode() for number in range(200)]
    found = sort_records([record(key, b"%d" % n) for n in (1, 2) for key in keys], OLD, NEW)
    assert {key for some in found.states.values() for key, _, _ in some} == set(keys)
    for place, some in found.states.items():
        assert all(partition_of(key or b"", NEW) == place for key, _, _ in some)
        for key in keys:
            assert [value for of, value, _ in some if of == key] in ([], [b"1", b"2"])
    assert found.deletions == {}


def test_a_deletion_counts_if_no_state_comes_after_it() -> None:
    found = sort_records([record(b"a", b"1"), deletion(b"a"), deletion(b"b"), record(b"b", b"2")], OLD, NEW)
    assert found.deletions == {b"a": tombstone_headers("a", GONE, None)}
    assert found.alive == {b"b"}
    assert sum(map(len, found.states.values())) == 2


def test_what_no_reader_takes_is_left_out() -> None:
    wrong = (partition_of(b"a", OLD) + 1) % OLD
    records = [record(None, b"1"), record(b"a", b"1", partition=wrong), record(b"a", None)]
    found = sort_records(records, OLD, NEW)
    assert (found.left_out, found.states, found.deletions) == (3, {}, {})


def test_a_purge_floor_among_the_carts_is_no_cart() -> None:
    floor = record(purge_floor_key_in_carts(3), encode_purge_floor(PurgeFloor(77)), partition=3)
    found = sort_records([floor], OLD, NEW)
    assert (found.purge_floor, found.states, found.left_out) == (77, {}, 0)


@pytest.mark.parametrize(("old", "new"), [(16, 48), (48, 16), (16, 24), (5, 7), (1, 3), (4, 1)])
@given(floors=st.data(), cart=st.text(min_size=1))
def test_no_cart_gets_a_lower_purge_floor_than_it_had(
    old: int, new: int, floors: st.DataObject, cart: str
) -> None:
    had = floors.draw(st.lists(st.integers(0, 2**53), min_size=old, max_size=old))
    after = floors_after(dict(enumerate(had)), new)
    assert sorted(after) == list(range(new))
    key = cart.encode("utf-8", "replace")
    assert after[partition_of(key, new)] >= had[partition_of(key, old)]
    assert set(after.values()) <= set(had)


def test_where_partitions_only_divide_each_keeps_the_floor_that_its_carts_had() -> None:
    assert floors_after({0: 7, 1: 9}, 6) == {0: 7, 1: 9, 2: 7, 3: 9, 4: 7, 5: 9}
    assert floors_after({0: 7, 1: 9, 2: 3, 3: 1}, 2) == {0: 7, 1: 9}
