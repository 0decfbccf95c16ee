r"""Where everything of a partition and of a cart stands in Redis.

All keys of a partition share one hash tag, so that one script can touch a cart, the partition's outbox
and its marker atomically, in Redis Cluster too. The tag's slot is the middle of the partition's share
of the 16,384 slots: any number of nodes up to half the partitions gets them evenly.

    {t}:cart:<id>    hash: `m` the head, `metadata`, `details`, `saved`, `x` if any, a `l:<line_id>` per line
    {t}:ops:<id>     hash: op_id -> the window's entry; a further attempt of an operation under `op_id\n<v>`
    {t}:win:<id>     zset: the fields of ops by v
    {t}:fence:<id>   the lock on the cart's checkout: the holder's token, with a time to live
    {t}:outbox       stream: changes not yet known to be in Kafka; fields op, cart, e
    {t}:backlog      string: bytes of those changes, milliseconds of the oldest
    {t}:ready        the marker: the partition is authoritative. The restoration that made it so, how far the
                     rows were in `carts`, when it was set, the id of the topic (carts.protocol.Marker)
    {t}:restore      hash: token and sequence of the restoration under way, `since`: where in `carts` those
                     began that were not finished, `closed`: none may begin, carts move to other partitions
    {t}:restore-progress  how far that is, with a time to live
    {t}:followed     offset in `carts` up to which this copy of the partition has followed
    {t}:cold         offset in `carts` before which carts may be in their rows only, until Redis is warm
    {t}:expired      zset: expired carts with a copy, by the offset in `carts` that their rows must reach
    {t}:wish         somebody waits for this partition to be restored
    {t}:events       shard channel: `<cart_id> <version tag>` of a change, `*` as a restoration begins or ends
    {t}:sweeper      the lease of the outbox sweeper
    {t}:unfolded     zset: carts with changes that no state put here has covered yet, by the v of the oldest
    ticket:<hash>    the cart that a one-use ticket is for, with a time to live; belongs to no partition
    rate:<policy>:<hash>  what somebody has taken of a rate limit, with a time to live; of no partition

With a prefix (topics.names) all of them begin with it; from the second generation of the topics of carts on
those with a `{t}` begin with that, too. Neither is a part of a hash tag, so slots stay.
"""

from binascii import crc_hqx
from functools import lru_cache
from typing import Final, NamedTuple

from store.redis.wire import pack, pack_arguments
from topics.names import GENERATION, carts_in_redis
from topics.partitioner import partition_of

SLOTS: Final = 16_384
EVERY_CART: Final = b"*"
"""The message on a shard channel that names no cart: any cart of the partition may be another one now."""


def slot_of(tag: str) -> int:
    """The slot of a hash tag: CRC-16/XMODEM modulo 16,384 (Redis Cluster specification)."""
    return crc_hqx(tag.encode(), 0) % SLOTS


@lru_cache
def tags(partitions: int) -> tuple[str, ...]:
    """One tag per partition, its slot the middle of the partition's share: the first numbers that fit."""
    wanted = {(2 * p + 1) * SLOTS // (2 * partitions): p for p in range(partitions)}
    if len(wanted) < partitions:
        raise ValueError(
            f"{partitions} partitions do not fit into {SLOTS} slots one by one; use at most {SLOTS}"
        )
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        tag = str(number)
        p = wanted.get(slot_of(tag))
        if p is not None:
            found.setdefault(p, tag)
        number += 1
    return tuple(found[p] for p in range(partitions))


class CartKeys(NamedTuple):
    """A cart's partition and keys."""

    partition: int
    slot: int
    cart: bytes
    ops: bytes
    win: bytes
    checkout_lock: bytes
    read: bytes
    """The packed commands that read marker, cart, and marker again."""
    change: bytes
    """The keys of the change script, packed, and its first argument, the cart's id."""


class PartitionKeys(NamedTuple):
    """The keys of a partition that belong to no single cart."""

    outbox: bytes
    backlog: bytes
    ready: bytes
    restore: bytes
    restore_progress: bytes
    followed: bytes
    cold: bytes
    expired: bytes
    restore_request: bytes
    events: bytes
    sweeper: bytes
    pending_compaction: bytes


_KEY_NAMES: Final = {
    "restore_progress": "restore-progress",
    "restore_request": "wish",
    "pending_compaction": "unfolded",
}
"""Names of keys in Redis where they differ from the field."""


class Layout:
    """The keys of a store with `partitions` partitions. Raises ValueError on more partitions than slots."""

    def __init__(self, partitions: int, generation: int = GENERATION) -> None:
        """`generation`: that of the topics of carts; each has keys of its own (topics.names)."""
        self.partitions: Final = partitions
        self.tags: Final = tags(partitions)
        self._places: Final = tuple(f"{carts_in_redis(generation)}{{{tag}}}" for tag in self.tags)
        self._partition_keys: Final = tuple(
            PartitionKeys(
                *(f"{place}:{_KEY_NAMES.get(name, name)}".encode() for name in PartitionKeys._fields)
            )
            for place in self._places
        )
        self._slots: Final = tuple(slot_of(tag) for tag in self.tags)
        self.of_cart: Final = lru_cache(maxsize=32_768)(self._of_cart)

    def partition(self, cart_id: str) -> int:
        """The partition of a cart."""
        return self.of_cart(cart_id).partition

    def slot(self, partition: int) -> int:
        """The slot of all keys of `partition`, its carts' included."""
        return self._slots[partition]

    def of_partition(self, partition: int) -> PartitionKeys:
        """The keys of `partition` that belong to no single cart."""
        return self._partition_keys[partition]

    def _of_cart(self, cart_id: str) -> CartKeys:
        name = cart_id.encode()
        p = partition_of(name, self.partitions)
        place = self._places[p]
        kinds = ("cart", "ops", "win", "fence")
        cart, ops, win, checkout_lock = (f"{place}:{kind}:{cart_id}".encode() for kind in kinds)
        shared = self._partition_keys[p]
        marker = pack((b"GET", shared.ready))
        return CartKeys(
            partition=p,
            slot=self._slots[p],
            cart=cart,
            ops=ops,
            win=win,
            checkout_lock=checkout_lock,
            read=marker + pack((b"HGETALL", cart)) + marker,
            change=pack_arguments(
                *(cart, ops, win),
                *(shared.outbox, shared.backlog, shared.ready, shared.events, shared.pending_compaction),
                name,
            ),
        )
