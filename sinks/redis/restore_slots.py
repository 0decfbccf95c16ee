"""Whose partition is restored next: a few at once, those somebody waits for first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `parallel` turns at once."""

    def __init__(self, parallel: int) -> None:
        self._free = parallel
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.wished: set[int] = set()
        """Partitions with a request waiting; set it whenever it is known anew."""

    @asynccontextmanager
    async def turn(self, partition: int) -> AsyncIterator[None]:
        """Wait for a turn and have it."""
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
        for partition in sorted(waiting, key=lambda p: p not in self.wished)[: self._free]:
            self._waiting.pop(partition).set_result(None)
            self._free -= 1
