"""What the table keeps when it reads `carts` back: the highest version, whatever came last."""

from carts.operations import Add, Change, Item
from carts.state import Version
from streams.decisions import ChangeSource, Emission, Rules, decide
from streams.recovery import Recovery
from topics.codec import encode_change, encode_purge_floor
from topics.headers import read_headers, tombstone_headers, version_header
from topics.partitioner import partition_of
from topics.records import PurgeFloor, purge_floor_key_in_carts

CART = b"user:42"
PARTITION = partition_of(CART, 16)
ADD = Add("sku-1", 1, 500, "EUR", Item("sku-1"))


def grown(times: int) -> Emission:
    """The record of a cart after so many adds, from v 2,000,000 on."""
    held: bytes | None = None
    for n in range(1, times + 1):
        add = Change(cart_id=CART.decode(), version=2_000_000 * n, op_id=f"op-{n}", delta=(ADD,))
        decision = decide(
            held,
            0,
            ChangeSource(CART, encode_change(add), PARTITION, n),
            Rules(retention_us=0, max_bytes=4 << 20),
        )
        assert decision.emission is not None
        held = decision.emission.value
    assert decision.emission is not None
    return decision.emission


OLD, NEW = grown(1), grown(2)
NEW_VERSION = version_header(NEW.headers) or Version()


def nothing_held(_key: bytes) -> None:
    """An empty store."""


def test_a_newer_record_replaces_an_older_one() -> None:
    assert Recovery(16).keep(CART, OLD.value, NEW.value, NEW.headers) is NEW.value


def test_an_older_record_that_comes_later_does_not() -> None:
    assert Recovery(16).keep(CART, NEW.value, OLD.value, OLD.headers) is NEW.value


def test_what_is_kept_against_the_log_is_sent_with_its_own_version_and_no_source() -> None:
    headers = Recovery(16).headers_of(CART, NEW.value)
    assert version_header(headers) == NEW_VERSION
    assert read_headers(headers).source_offset is None


def test_a_record_without_headers_is_judged_by_its_value() -> None:
    assert Recovery(16).keep(CART, NEW.value, OLD.value, []) is NEW.value
    assert Recovery(16).keep(CART, OLD.value, NEW.value, []) is NEW.value


def test_a_null_deletes_what_is_not_newer_than_its_version() -> None:
    null = tombstone_headers("user:42", NEW_VERSION, None)
    assert Recovery(16).keep(CART, NEW.value, None, null) is None
    assert Recovery(16).keep(CART, OLD.value, None, null) is None


def test_a_null_of_an_older_version_deletes_nothing() -> None:
    null = tombstone_headers("user:42", version_header(OLD.headers) or Version(), None)
    assert Recovery(16).keep(CART, NEW.value, None, null) is NEW.value


def test_a_null_without_a_version_deletes_nothing() -> None:
    assert Recovery(16).keep(CART, NEW.value, None, []) is NEW.value


def test_a_deleted_cart_that_a_late_worker_wrote_again_stays_deleted() -> None:
    recovery = Recovery(16)
    floor = encode_purge_floor(PurgeFloor(NEW_VERSION.number))
    assert recovery.keep(purge_floor_key_in_carts(PARTITION), None, floor, []) is floor
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is None
    assert version_header(recovery.headers_of(CART, None)) == NEW_VERSION


def test_a_contradicted_deletion_can_be_answered_again() -> None:
    recovery = Recovery(16)
    recovery.raise_floor(PARTITION, NEW_VERSION.number)
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is None
    for _ in range(2):
        assert version_header(recovery.headers_of(CART, None)) == NEW_VERSION


def test_the_floor_that_a_trusted_local_store_holds_counts_for_what_is_read_after_it() -> None:
    recovery = Recovery(16)
    held = {purge_floor_key_in_carts(PARTITION): encode_purge_floor(PurgeFloor(NEW_VERSION.number))}
    recovery.opened(PARTITION, held.get)
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is None


def test_a_floor_counts_at_once_for_a_store_with_its_carts_and_later_for_one_that_is_filled() -> None:
    for is_rebuilt in (False, True):
        recovery = Recovery(16)
        recovery.written = {PARTITION: NEW_VERSION.number}
        recovery.opened(PARTITION, nothing_held, is_rebuilt=is_rebuilt)
        kept = recovery.keep(CART, None, NEW.value, NEW.headers)
        assert kept is (NEW.value if is_rebuilt else None)


def test_a_tombstone_lifts_the_floor_for_what_is_read_after_it() -> None:
    recovery = Recovery(16)
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is NEW.value
    assert recovery.keep(CART, NEW.value, None, tombstone_headers("user:42", NEW_VERSION, None)) is None
    assert recovery.floor(PARTITION) == NEW_VERSION.number
    # A worker that was frozen has written it again.
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is None


def test_a_floor_ends_with_the_ownership_of_its_partition() -> None:
    floor = encode_purge_floor(PurgeFloor(NEW_VERSION.number))
    recovery = Recovery(16)
    # A live cart below the floor: in the log it stands before the floor, which a later purge has lifted.
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is NEW.value
    assert recovery.keep(purge_floor_key_in_carts(PARTITION), None, floor, []) is floor
    # The partition goes to another worker, comes back and is read into an empty store.
    recovery.opened(PARTITION, nothing_held)
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is NEW.value
    assert recovery.keep(purge_floor_key_in_carts(PARTITION), None, floor, []) is floor


def test_a_contradicted_deletion_ends_with_the_ownership_of_its_partition() -> None:
    recovery = Recovery(16)
    recovery.note_floor(
        purge_floor_key_in_carts(PARTITION), encode_purge_floor(PurgeFloor(NEW_VERSION.number))
    )
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is None
    recovery.opened(PARTITION, nothing_held)
    assert recovery.keep(CART, None, b"garbage", []) is None
    assert version_header(recovery.headers_of(CART, None)) == Version()


def test_a_floor_of_another_partition_says_nothing_about_a_cart() -> None:
    recovery = Recovery(16)
    recovery.keep(
        purge_floor_key_in_carts((PARTITION + 1) % 16),
        None,
        encode_purge_floor(PurgeFloor(NEW_VERSION.number)),
        [],
    )
    assert recovery.keep(CART, None, NEW.value, NEW.headers) is NEW.value


def test_a_purge_floor_never_falls() -> None:
    key, low, high = (
        purge_floor_key_in_carts(3),
        encode_purge_floor(PurgeFloor(4)),
        encode_purge_floor(PurgeFloor(8)),
    )
    recovery = Recovery(16)
    assert recovery.keep(key, None, low, []) is low
    assert recovery.keep(key, low, high, []) is high
    assert recovery.keep(key, high, low, []) is high
    assert recovery.keep(key, high, None, []) is high
    assert recovery.note_floor(key, None) == 8


def test_what_is_no_cart_is_never_held_and_its_null_deletes_no_copy() -> None:
    recovery = Recovery(16)
    assert recovery.keep(CART, None, b"garbage", []) is None
    assert recovery.keep(CART, NEW.value, b"garbage", []) is NEW.value
    assert version_header(recovery.headers_of(CART, None)) == Version()
