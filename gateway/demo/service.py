"""Lose Redis on purpose, to see it come back."""

import asyncio
from typing import Final

import msgspec
import structlog

from store.redis import PipelinedClient
from store.redis.node import Node
from topics.names import IN_REDIS

log = structlog.get_logger(__name__)


class Wiped(msgspec.Struct, frozen=True):
    """How many keys Redis had before all of them were deleted."""

    deleted_keys: int


_PAGE: Final = 1000


class RedisWipe:
    """Deletes everything in the gateway's Redis; with a prefix (topics.names), everything of this shop."""

    def __init__(self, client: PipelinedClient) -> None:
        self._client: Final = client

    async def wipe(self) -> Wiped:
        """FLUSHALL, or the same for the keys of one shop, on all servers. Raises StoreError if one fails."""
        if IN_REDIS:
            deleted_keys = sum(await self._client.of_all(_wipe_shop))
        else:
            deleted_keys = sum(await self._client.of_all(_flush))
        log.warning("demo.redis_wiped", deleted_keys=deleted_keys)
        return Wiped(deleted_keys)


async def _flush(node: Node) -> int:
    keys: int = await node.execute(b"DBSIZE")
    await node.execute(b"FLUSHALL")
    return keys


async def _wipe_shop(node: Node) -> int:
    deleted: int = 0
    cursor = b"0"
    while True:
        cursor, keys = await node.execute(b"SCAN", cursor, b"MATCH", f"{IN_REDIS}*", b"COUNT", _PAGE)
        # Each by itself: keys of several slots go into no one command.
        deleted += sum(await asyncio.gather(*(node.execute(b"UNLINK", key) for key in keys)))
        if cursor == b"0":
            return deleted
