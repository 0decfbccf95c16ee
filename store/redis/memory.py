"""How much of its memory Redis uses, and whether there is room beside the reserve."""

from collections.abc import Mapping

import msgspec

from store.redis import answers
from store.redis.client import PipelinedClient


class Memory(msgspec.Struct, frozen=True):
    """Bytes that count against `maxmemory`, and `maxmemory` itself, 0: there is no bound."""

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
    """The memory in the fields of INFO. Buffers of replicas and of the append-only file do not count."""
    used = int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))
    return Memory(used, int(info["maxmemory"]))


async def read_memory(client: PipelinedClient) -> Memory:
    """What the server uses now. Raises StoreError."""
    return memory_of(answers.info(await client.execute(b"INFO", b"memory")))
