"""The partition of a cart: Kafka's Java default partitioner over the UTF-8 of its id."""

import struct
from functools import lru_cache
from typing import Final

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
