"""Which server of a cluster has which slots: redis-py looks, again whenever it turns out to be otherwise."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from runtime.cancellation import cancel_until_ended
from store.redis.errors import StoreError
from store.redis.layout import SLOTS
from store.redis.servers import Server, Servers, redis_errors

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
"""Between two looks that find nothing new: each makes a connection, and many clients look together."""

Changed = Callable[[list[Server | None]], None]
"""Is told which server has each slot; None where the cluster knows of none."""


class SlotMap:
    """Looks in the background, when asked to. Belongs to one event loop."""

    def __init__(self, servers: Servers, timeout_s: float, changed: Changed) -> None:
        self._nodes: Final = servers.nodes(timeout_s)
        self._seeds: Final = dict(self._nodes.startup_nodes)
        self._servers: Final = servers
        self._changed: Final = changed
        self._wanted: Final = asyncio.Event()
        self._owners: list[Server | None] = []
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look whenever it is wanted."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            cancel_until_ended(self._looking)
            await asyncio.gather(self._looking, return_exceptions=True)
        for attribute in ("nodes_cache", "startup_nodes"):
            await self._nodes.aclose(attribute)

    def look_soon(self) -> None:
        """What is known is no longer true, or nothing is known."""
        self._wanted.set()

    async def look(self) -> None:
        """Ask any server of the cluster now, one that is known or was named. Raises StoreError."""
        with redis_errors():
            await self._nodes.initialize()
        # Whoever was found can be asked the next time, when those of the URL may be gone.
        self._nodes.startup_nodes = self._nodes.nodes_cache | self._seeds
        owners: list[Server | None] = [None] * SLOTS
        for slot, nodes in self._nodes.slots_cache.items():
            owners[slot] = Server(nodes[0].host, int(nodes[0].port))
        self._owners = owners
        self._changed(owners)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            known = self._owners
            try:
                await self.look()
            except StoreError as error:
                log.warning("redis.cluster_unknown", servers=str(self._servers), error=str(error))
                self._wanted.set()
            except Exception:
                # Whatever it was: without a map no new owner of a slot would ever be found.
                log.exception("redis.looking_failed", servers=str(self._servers))
                self._wanted.set()
            await asyncio.sleep(pause)
            is_settled = self._owners != known or not self._wanted.is_set()
            pause = _FIRST_PAUSE_S if is_settled else min(2 * pause, _LONGEST_PAUSE_S)
