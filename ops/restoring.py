"""Asks for a restore of Redis and follows the restore agent while it works."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sinks.redis.progress import Report, read
from store.redis import CartStore, Layout, PipelinedClient, RedisSettings

POLL_SECONDS: Final = 0.25
SILENT_SECONDS: Final = 10.0
"""An agent that works reports its progress each second."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a restore is."""

    restoring: Mapping[int, Report | None]
    """The partitions that are not ready, each with the agent's report if there is one."""
    is_silent: bool
    """No agent has reported for SILENT_SECONDS. Set once for each such span."""


async def cold_partitions(settings: RedisSettings) -> list[int]:
    """The partitions that are not warm yet: some of their carts are in their rows only. Raises StoreError."""
    layout = Layout(settings.partitions)
    async with PipelinedClient(settings, name="cartstream-restore") as client:
        store = CartStore(client, layout)
        return [
            partition for partition in range(layout.partitions) if await store.cold(partition) is not None
        ]


async def follow_restore(settings: RedisSettings, again: Collection[int]) -> AsyncIterator[Moment]:
    """Restores the partitions in `again`, and all that are not ready; ends when all are.

    Raises StoreError.
    """
    layout = Layout(settings.partitions)
    async with PipelinedClient(settings, name="cartstream-restore") as client:
        store = CartStore(client, layout)
        for partition in again:
            await store.forget_marker(partition)
        heard = time.monotonic()
        while missing := set(range(layout.partitions)) - await store.ready_partitions():
            restoring: dict[int, Report | None] = {}
            for partition in sorted(missing):
                await store.request_restore(partition)
                restoring[partition] = await read(client, layout, partition)
            now = time.monotonic()
            if any(restoring.values()):
                heard = now
            is_silent = now - heard > SILENT_SECONDS
            if is_silent:
                heard = now
            yield Moment(restoring, is_silent)
            await asyncio.sleep(POLL_SECONDS)
