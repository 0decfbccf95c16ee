"""Lose Redis on purpose, to see it come back."""

from typing import Final

import msgspec
import structlog

from store.redis import PipelinedClient

log = structlog.get_logger(__name__)


class Wiped(msgspec.Struct, frozen=True):
    """How many keys Redis had before all of them were deleted."""

    deleted_keys: int


class RedisWipe:
    """Deletes everything in the gateway's Redis."""

    def __init__(self, client: PipelinedClient) -> None:
        self._client: Final = client

    async def wipe(self) -> Wiped:
        """FLUSHALL. Raises StoreError."""
        deleted_keys, _ = await self._client.execute_all([(b"DBSIZE",), (b"FLUSHALL",)])
        log.warning("demo.redis_wiped", deleted_keys=deleted_keys)
        return Wiped(deleted_keys)
