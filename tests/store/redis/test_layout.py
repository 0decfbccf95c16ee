"""The keys: hash tags spread evenly over any cluster, and stay what they are."""

import pytest
from redis.crc import key_slot

from store.redis import Layout
from store.redis.layout import SLOTS, slot_of, tags


def test_slots_are_those_of_redis_cluster() -> None:
    for tag in ("", "123456789", "a", *tags(16)):
        assert slot_of(tag) == key_slot(tag.encode())


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 16, 24, 64, 100, 1024])
def test_a_partitions_slot_is_the_middle_of_its_share(partitions: int) -> None:
    for partition, tag in enumerate(tags(partitions)):
        share = SLOTS / partitions
        assert abs(slot_of(tag) - (partition + 0.5) * share) <= 1


@pytest.mark.parametrize("partitions", [2, 7, 16, 24, 64, 100])
def test_any_number_of_nodes_up_to_half_the_partitions_gets_them_evenly(partitions: int) -> None:
    for nodes in range(1, partitions // 2 + 1):
        held = [0] * nodes
        for tag in tags(partitions):
            held[slot_of(tag) * nodes // SLOTS] += 1
        assert max(held) - min(held) <= 1


def test_the_tags_of_the_default_stay_what_they_are() -> None:
    assert tags(16) == (
        *("1768", "20261", "18360", "41271", "3453", "11199", "29098", "8591"),
        *("265", "45842", "13409", "17891", "46093", "3635", "2912", "48623"),
    )


def test_all_keys_of_a_partition_share_its_slot() -> None:
    layout = Layout(16)
    for number in range(200):
        keys = layout.of_cart(f"user:{number}")
        names = {
            key_slot(key) for key in (keys.cart, keys.ops, keys.win, *layout.of_partition(keys.partition))
        }
        assert len(names) == 1


def test_more_partitions_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Layout(SLOTS + 1)
