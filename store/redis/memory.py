"""How much of its memory Redis uses, and whether there is room beside the reserve."""

from collections.abc import Iterable, Mapping

import msgspec

from store.redis import answers
from store.redis.client import PipelinedClient
from store.redis.errors import StoreBroken


class Memory(msgspec.Struct, frozen=True):
    """Bytes that count against a server's `maxmemory`, and `maxmemory` itself, 0: there is no bound."""

    used: int
    bound: int

    def has_room(self, reserve_share: float) -> bool:
        """Whether carts and products may grow: what is left is more than this share of `maxmemory`.

        The reserve is for what must go on: removals, orders, merges and restorations, with the carts that are
        looked up for them.
        """
        return not self.bound or self.used < (1 - reserve_share) * self.bound

    def is_near(self, reserve_share: float) -> bool:
        """Whether no more is used beyond `maxmemory` than twice the reserve.

        So far carts are brought in to be emptied: each takes memory before it gives some back.
        """
        return not self.bound or self.used < (1 + 2 * reserve_share) * self.bound


def memory_of(info: Mapping[str, str]) -> Memory:
    """The memory in the fields of INFO. Buffers of replicas and of the append-only file do not count.

    A managed server that does not tell has no bound.
    """
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    return Memory(used, int(info.get("maxmemory", 0)))


def fullest(memories: Iterable[Memory]) -> Memory:
    """The one of which the largest share is used."""
    return max(memories, key=lambda memory: memory.used / memory.bound if memory.bound else 0.0)


async def read_memories(client: PipelinedClient) -> list[Memory]:
    """What each server uses now, of those that answer; nothing is known where INFO is refused.

    Raises StoreError if none answers.
    """
    try:
        told = await client.ask_each(b"INFO", b"memory")
    except StoreBroken:
        return [Memory(0, 0)]
    return [memory_of(answers.info(text)) for text in told]
