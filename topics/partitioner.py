"""The partition of a record: Kafka's Java default partitioner over its key, the UTF-8 of a cart id."""

import struct
from functools import lru_cache
from typing import Final

from topics.records import PURGE_FLOOR_PREFIX

_MASK32: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 of org.apache.kafka.common.utils.Utils, unsigned."""
    length = len(data)
    h = _SEED ^ length
    aligned = length & ~3
    for word in struct.unpack_from(f"<{aligned // 4}I", data):
        k = (word * _M) & _MASK32
        h = ((h * _M) ^ ((k ^ (k >> 24)) * _M)) & _MASK32
    match length & 3:
        case 3:
            h ^= (data[aligned + 2] << 16) | (data[aligned + 1] << 8) | data[aligned]
            h = (h * _M) & _MASK32
        case 2:
            h ^= (data[aligned + 1] << 8) | data[aligned]
            h = (h * _M) & _MASK32
        case 1:
            h ^= data[aligned]
            h = (h * _M) & _MASK32
        case _:
            pass
    h ^= h >> 13
    h = (h * _M) & _MASK32
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`, as Kafka's Java default partitioner chooses it.

    Remembered: a shopper comes back to the same cart, and the hash in Python costs microseconds.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partition_in_carts(key: bytes, partitions: int) -> int:
    """The partition in which `carts` holds `key`; unlike carts, a purge floor's key names its partition.

    Raises ValueError for a purge floor of no partition.
    """
    if key.startswith(PURGE_FLOOR_PREFIX):
        return int(key[len(PURGE_FLOOR_PREFIX) :])
    return partition_of(key, partitions)
