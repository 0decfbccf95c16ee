"""Lose Redis on purpose, to see it come back."""

from typing import Final

import msgspec
import structlog

from store.redis import PipelinedClient
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
        """FLUSHALL, or the same for the keys of one shop. Raises StoreError."""
        if IN_REDIS:
            deleted_keys = await self._wipe_shop()
        else:
            deleted_keys, _ = await self._client.execute_all([(b"DBSIZE",), (b"FLUSHALL",)])
        log.warning("demo.redis_wiped", deleted_keys=deleted_keys)
        return Wiped(deleted_keys)

    async def _wipe_shop(self) -> int:
        deleted, cursor = 0, b"0"
        while True:
            cursor, keys = await self._client.execute(
                b"SCAN", cursor, b"MATCH", f"{IN_REDIS}*", b"COUNT", _PAGE
            )
            if keys:
                deleted += await self._client.execute(b"UNLINK", *keys)
            if cursor == b"0":
                return deleted
