"""An open stream: what its client knows, and the newest that it does not know yet."""

import asyncio
from typing import Final

from gateway.live.events import HEARTBEAT, LiveEvent, Told


class Stream:
    """One client's stream. It keeps one event, the newest: who reads slowly misses those between."""

    __slots__ = ("_awake", "_newest", "_told", "is_ended")

    def __init__(self, last_event_id: str | None) -> None:
        """`last_event_id`: the version that the client has."""
        self._told = Told(last_event_id)
        self._newest: LiveEvent | None = None
        self._awake: Final = asyncio.Event()
        self.is_ended = False

    def offer(self, event: LiveEvent) -> None:
        """Take the event in place of one not sent yet, if it is news to the client."""
        self._newest = event if self._told.lacks(event) else None
        if self._newest is not None:
            self._awake.set()

    def end(self) -> None:
        """Let the client come back elsewhere."""
        self.is_ended = True
        self._awake.set()

    async def next(self, heartbeat_s: float) -> LiveEvent | bytes | None:
        """The next event; a heartbeat when there is none for so long; None at the end."""
        while not self.is_ended:
            event, self._newest = self._newest, None
            if event is not None:
                self._told = self._told.after(event)
                return event
            self._awake.clear()
            try:
                async with asyncio.timeout(heartbeat_s):
                    await self._awake.wait()
            except TimeoutError:
                return HEARTBEAT
        return None
