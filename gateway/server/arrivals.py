"""Waits for the bytes of a client."""

import asyncio


class Arrival:
    """Tells the one task that waits for bytes that some have come. Sanic's Event is for many tasks."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None

    def next(self) -> asyncio.Future[None]:
        """Done as soon as bytes come, from now on."""
        self._waiting = self._loop.create_future()
        return self._waiting

    def set(self) -> None:
        """Bytes have come."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
