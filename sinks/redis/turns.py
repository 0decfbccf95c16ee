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
            if self._waiting.pop(partition, None) is None:
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
        while self._free and self._waiting:
            first = next((p for p in self._waiting if p in self.wished), next(iter(self._waiting)))
            self._waiting.pop(first).set_result(None)
            self._free -= 1
