"""The partition of a cart: Kafka's Java default partitioner over the UTF-8 of its id."""

from typing import Final

_MASK32: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 of org.apache.kafka.common.utils.Utils, unsigned."""
    length = len(data)
    h = _SEED ^ length
    aligned = length & ~3
    for i in range(0, aligned, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * _M) & _MASK32
        k ^= k >> 24
        k = (k * _M) & _MASK32
        h = ((h * _M) & _MASK32) ^ k
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


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`, as Kafka's Java default partitioner chooses it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
