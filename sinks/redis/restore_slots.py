"""Limits how many partitions are restored at once; those that a request waits for go first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RestoreSlots:
    """A semaphore of `parallel` slots that admits the requested partitions first."""

    def __init__(self, parallel: int) -> None:
        self._free = parallel
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.requested: set[int] = set()
        """Partitions that a request waits for; the owner sets it again and again."""

    @asynccontextmanager
    async def slot(self, partition: int) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        admitted = self._waiting[partition] = asyncio.get_running_loop().create_future()
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._waiting.pop(partition, None)
            else:
                self._give_back()
            raise
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        waiting = [p for p, admitted in self._waiting.items() if not admitted.done()]
        for partition in sorted(waiting, key=lambda p: p not in self.requested)[: self._free]:
            self._waiting.pop(partition).set_result(None)
            self._free -= 1
