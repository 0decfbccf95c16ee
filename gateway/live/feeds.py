"""The feed of a cart: one reading for all its streams, and one event for many changes."""

import asyncio
import contextlib
import random
from typing import Final, Protocol

from gateway.live.events import LiveEvent
from gateway.live.streams import Stream

_ASK_AGAIN_S: Final = 1.0
"""Pause between looks whether a cart in doubt can be read again."""
_COMPLETE_S: Final = 5.0
"""Pause until a cart is read again that was shown without something: prices to compare, adjustments."""
_JITTER: Final = 0.25


class Source(Protocol):
    """Where a feed reads."""

    async def event(self, cart_id: str) -> LiveEvent:
        """The cart as it is now. Raises nothing."""
        ...

    async def is_readable(self, cart_id: str) -> bool:
        """Whether an event in doubt would be another one by now. Cheap."""
        ...


class Feed:
    """The streams of one cart at this worker. It reads when there is news, and holds nothing that it read."""

    __slots__ = (
        "_again",
        "_is_behind",
        "_pause_s",
        "_reading",
        "_source",
        "cart_id",
        "partition",
        "streams",
        "version",
    )

    def __init__(self, cart_id: str, partition: int, source: Source, pause_s: float) -> None:
        """`pause_s`: at least so long is between two events."""
        self.cart_id: Final = cart_id
        self.partition: Final = partition
        self.streams: Final[set[Stream]] = set()
        self.version: str | None = None
        self._source: Final = source
        self._pause_s: Final = pause_s
        self._is_behind = False
        self._reading: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None

    def read(self) -> None:
        """Read the cart soon: it may have changed."""
        self._is_behind = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_until_current())

    def heard(self, tag: str) -> None:
        """Read the cart unless this version is the one that was read last."""
        if tag != self.version:
            self.read()

    def publish(self, event: LiveEvent) -> None:
        """Offer the event to every stream."""
        self.version = None if event.tag is None else event.tag.partition(".")[0]
        for stream in self.streams:
            stream.offer(event)

    async def stop(self) -> None:
        """Read no more."""
        self._forget_again()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read_until_current(self) -> None:
        while self._is_behind and self.streams:
            self._is_behind = False
            self._forget_again()
            event = await self._source.event(self.cart_id)
            self.publish(event)
            if event.is_partial:
                self._again = asyncio.get_running_loop().call_later(_jittered(_COMPLETE_S), self.read)
            if event.tag is None:
                self._is_behind = True
                await self._until_readable()
            else:
                await asyncio.sleep(self._pause_s)

    async def _until_readable(self) -> None:
        while self.streams:
            await asyncio.sleep(_jittered(_ASK_AGAIN_S))
            if await self._source.is_readable(self.cart_id):
                return

    def _forget_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  apart from each other, no secret
