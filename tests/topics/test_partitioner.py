"""The partitioner is Kafka's: the vectors come from its Java class (`vectors/Vectors.java` says how)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from topics.partitioner import murmur2, partition_in_carts, partition_of
from topics.records import purge_floor_key_in_carts

VECTORS = json.loads((Path(__file__).parent / "vectors" / "partitioner.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key"][:24] or "empty")
def test_a_key_goes_where_kafkas_java_class_sends_it(vector: dict[str, int | str]) -> None:
    key = str(vector["key"]).encode()
    assert murmur2(key) == int(vector["murmur2"]) % 2**32
    assert partition_of(key, 16) == vector["of_16"]
    assert partition_of(key, 7) == vector["of_7"]


def test_carts_spread_evenly_over_the_partitions() -> None:
    counts = Counter(partition_of(f"user:{n}".encode(), 16) for n in range(16_000))
    assert len(counts) == 16
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


def test_a_purge_floor_belongs_to_the_partition_it_names_and_a_cart_to_its_hash() -> None:
    keys = [purge_floor_key_in_carts(partition) for partition in range(16)]
    assert [partition_in_carts(key, 16) for key in keys] == list(range(16))
    assert partition_in_carts(b"user:42", 16) == partition_of(b"user:42", 16)
