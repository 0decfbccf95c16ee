"""Watch Redis, its role and memory: bound outboxes, keep the reserve, know whether products stand still."""

import asyncio
from typing import Final

import structlog

from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from store.redis import CartStore, Memory, StoreError, fullest
from store.redis.catalogue import ProductCache
from topics.registry import PRODUCTS

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.5
"""How often. Between two looks Redis itself refuses what does not fit into `maxmemory`."""


def outbox_bound(max_bytes: int, max_share: float, maxmemory: int, partitions: int) -> int:
    """Bytes that one partition's outbox may take; `maxmemory` 0 is no bound of the server's."""
    return min(max_bytes, int(max_share * maxmemory / partitions)) if maxmemory else max_bytes


class StorageWatch:
    """Tells the store how large outboxes may be, and whether carts may grow, whenever that changes."""

    def __init__(
        self, store: CartStore, cache: ProductCache | None, settings: GatewaySettings, metrics: Metrics
    ) -> None:
        """`cache`: the product cache of a gateway with a catalogue."""
        self._store = store
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._bound = settings.outbox_max_bytes
        self._had_room = True
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None
        self.products_stand_since_us: int | None = None
        """Since when the product cache does not follow because Redis is full; None: it does."""

    async def start(self) -> None:
        """Look now if Redis answers, and again from time to time, whatever a look meets."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        try:
            await self._follow()
        except StoreError as error:
            log.debug("storage.unknown", error=repr(error))
        except Exception:
            # Who looks no more lets carts grow into the reserve: log it once, and go on.
            if not self._has_failed:
                self._has_failed = True
                log.exception("storage.failed")
        else:
            if self._has_failed:
                self._has_failed = False
                log.info("storage.works")

    async def _follow(self) -> None:
        await self._store.ask_role()
        memories = await self._store.memories()
        if self._cache is not None:
            self.products_stand_since_us = await self._cache.standing_since_us(
                self._settings.partitions_of(PRODUCTS.name)
            )
        memory = fullest(memories)
        self._metrics.redis_used_bytes.set(memory.used)
        self._metrics.redis_max_bytes.set(memory.bound)
        self._metrics.products_stand_still.set(self.products_stand_since_us is not None)
        self._bound_outboxes(sum(each.bound for each in memories))
        self._keep_reserve(memory)

    def _bound_outboxes(self, maxmemory: int) -> None:
        """Of servers that share the partitions evenly, `maxmemory` is what they have together."""
        settings = self._settings
        bound = outbox_bound(
            settings.outbox_max_bytes, settings.outbox_max_share, maxmemory, settings.partitions
        )
        if bound != self._bound:
            self._bound = bound
            self._store.bound_outbox(bound)
            log.info("outbox.bounded", bytes_per_partition=bound, maxmemory=maxmemory)

    def _keep_reserve(self, memory: Memory) -> None:
        has_room = self._store.has_room = memory.has_room(self._settings.redis_reserve_share)
        self._store.is_near_bound = memory.is_near(self._settings.redis_reserve_share)
        self._metrics.redis_full.set(not has_room)
        if has_room != self._had_room:
            self._had_room = has_room
            event = "redis.has_room" if has_room else "redis.full"
            log.warning(event, used=memory.used, maxmemory=memory.bound)
