"""What a record of `carts` says: a cart's state, its deletion, a partition's purge floor, or nothing."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from carts.state import State, Version
from topics.codec import decode_purge_floor, decode_state, decode_version
from topics.errors import RecordError, RecordErrorCode
from topics.headers import version_header
from topics.partitioner import partition_of
from topics.records import PURGE_FLOOR_PREFIX, PurgeFloor


class StateRecord(msgspec.Struct, frozen=True):
    """The state of a cart, as bytes until somebody needs it."""

    cart_id: str
    value: bytes
    tagged: Version | None
    """The version in the headers; readers that need no more are spared the value."""

    def version(self) -> Version:
        """The version of the state. Raises RecordError for a value that nobody can read."""
        return decode_version(self.value) if self.tagged is None else self.tagged

    def state(self) -> State:
        """The state. Raises RecordError for a value that nobody can read."""
        return decode_state(self.value)


class DeletionRecord(msgspec.Struct, frozen=True):
    """A tombstone: the cart is deleted, up to this version and no further."""

    cart_id: str
    version: Version


CartsRecord = StateRecord | DeletionRecord | PurgeFloor


class KafkaRecord(Protocol):
    """A record as a consumer gets it."""

    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes]]
    partition: int


def interpret(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> CartsRecord | None:
    """What a record of `carts` says; None for a tombstone that does not name the version it deletes.

    Such a tombstone is somebody's mistake and deletes nothing. Raises RecordError for a record without a key
    and for a purge floor that nobody can read. A state is not looked into.
    """
    if key is None:
        raise RecordError(RecordErrorCode.BAD_CART_ID, "the record has no key")
    if key.startswith(PURGE_FLOOR_PREFIX):
        return None if value is None else decode_purge_floor(value)
    cart_id = key.decode(errors="replace")
    version = version_header(headers)
    if value is not None:
        return StateRecord(cart_id, value, version)
    return None if version is None else DeletionRecord(cart_id, version)


def interpret_in_place(record: KafkaRecord, partitions: int) -> CartsRecord | None:
    """As `interpret`; raises RecordError for a cart in a partition it does not belong to, too.

    Whoever writes there does not partition as the others do: nothing else says that the record is right.
    """
    key = record.key
    if key is not None and not key.startswith(PURGE_FLOOR_PREFIX):
        right = partition_of(key, partitions)
        if right != record.partition:
            raise RecordError(RecordErrorCode.WRONG_PARTITION, f"its key belongs to partition {right}")
    return interpret(key, record.value, record.headers)
