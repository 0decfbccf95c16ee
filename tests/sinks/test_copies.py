"""What records say should be in Redis."""

import itertools
from types import SimpleNamespace
from typing import cast

import pytest

from carts.fold import fold
from carts.protocol import Deleted
from runtime.kafka.ranges import Record
from sinks.redis.copies import Found, found_in, keep, refold
from sinks.redis.readable_carts import newest_by_header, newest_by_state
from tests.sinks.cart_records import START, add, grow, new_cart_id
from topics.cart_records import interpret
from topics.codec import encode_cart, encode_change
from topics.errors import RecordError
from topics.headers import Headers, cart_headers, tombstone_headers
from topics.partitioner import partition_of
from topics.records import PurgeFloor, cart_record
from topics.registry import PARTITIONS


def recorded(cart_id: str, value: bytes | None, headers: Headers) -> Found | None:
    """What a record of the cart says of it."""
    said = interpret(cart_id.encode(), value, headers)
    assert not isinstance(said, PurgeFloor)
    return None if said is None else found_in(said)


def test_the_highest_of_a_cart_is_kept_in_any_order_and_a_deletion_wins_a_tie() -> None:
    cart_id = new_cart_id()
    history: list[Found] = [grow(cart_id, 1), grow(cart_id, 2), Deleted(grow(cart_id, 2).version)]
    for order in itertools.permutations(history):
        kept: dict[str, Found] = {}
        for found in order:
            keep(kept, cart_id, found)
        assert kept == {cart_id: history[2]}


def record(cart_id: str, value: bytes | None, headers: Headers) -> Record:
    """A record of `carts` as a consumer gets it."""
    key = cart_id.encode()
    place = partition_of(key, PARTITIONS)
    return cast(Record, SimpleNamespace(key=key, value=value, headers=headers, partition=place, offset=0))


def test_the_newest_by_the_headers_is_the_newest_by_the_states() -> None:
    cart_id = new_cart_id()
    old, new = grow(cart_id, 1), grow(cart_id, 2)
    records = [
        record(cart_id, encode_cart(cart_record(cart_id, state)), cart_headers(cart_id, state.version, None))
        for state in (old, new)
    ]
    for order in itertools.permutations([*records, record(new_cart_id(), b"{}", [])]):
        said = newest_by_header(order, PARTITIONS)
        assert {cart_id: found_in(said[cart_id])} == newest_by_state(order, PARTITIONS) == {cart_id: new}
        assert said.keys() == {cart_id}
    deletion = record(cart_id, None, tombstone_headers(cart_id, new.version, None))
    assert found_in(newest_by_header([deletion, *records], PARTITIONS)[cart_id]) == Deleted(new.version)


def test_an_unreadable_state_hides_an_older_one_from_those_that_look_at_headers_only() -> None:
    cart_id = new_cart_id()
    old, new = grow(cart_id, 1), grow(cart_id, 2)
    readable = record(cart_id, encode_cart(cart_record(cart_id, old)), [])
    broken = record(cart_id, b"{}", cart_headers(cart_id, new.version, None))
    with pytest.raises(RecordError):
        found_in(newest_by_header([readable, broken], PARTITIONS)[cart_id])
    assert newest_by_state([readable, broken], PARTITIONS) == {cart_id: old}


def test_a_record_is_a_state_and_a_tombstone_a_deletion_if_it_says_of_what() -> None:
    cart_id = new_cart_id()
    state = grow(cart_id, 2)
    assert recorded(cart_id, encode_cart(cart_record(cart_id, state)), []) == state
    assert recorded(cart_id, None, tombstone_headers(cart_id, state.version, None)) == Deleted(state.version)
    assert recorded(cart_id, None, []) is None
    with pytest.raises(RecordError):
        recorded(cart_id, b"{}", [])


def test_changes_are_folded_as_compaction_folds_them_duplicates_and_strangers_included() -> None:
    cart_id = new_cart_id()
    changes = [add(cart_id, number) for number in range(1, 6)]
    values: list[bytes | None] = [encode_change(change) for change in changes]
    for base in (None, grow(cart_id, 1), grow(cart_id, 3), grow(cart_id, 5)):
        for order in (values, values[::-1], values * 2, [None, b"{}", *values]):
            assert refold(base, cart_id, order, 0) == grow(cart_id, 5)
    assert refold(None, new_cart_id(), values, 0) is None


def test_a_change_below_the_purge_floor_brings_no_cart_back() -> None:
    cart_id = new_cart_id()
    late = encode_change(add(cart_id, 1))
    later = add(cart_id, 9)
    assert refold(None, cart_id, [late], START + 10_000) is None
    assert refold(Deleted(grow(cart_id, 5).version), cart_id, [late], 0) is None
    floor = grow(cart_id, 5).version_number
    reborn = refold(Deleted(grow(cart_id, 5).version), cart_id, [late, encode_change(later)], 0)
    assert reborn == fold(None, later, purge_floor=floor).state
