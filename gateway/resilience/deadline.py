"""Bounded waiting: no request outlives its deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.http.problems import DEADLINE_EXCEEDED, Problem, retry_after

T = TypeVar("T")

POLL_S: Final = 0.1


class Deadline:
    """The time by which a request must be answered, `seconds` from now."""

    __slots__ = ("_began", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()

    def passed(self) -> float:
        """Seconds since the request began."""
        return time.monotonic() - self._began

    def left(self) -> float:
        """Seconds until it, at least 0."""
        return max(0.0, self._began + self._seconds - time.monotonic())

    async def bound(self, work: Awaitable[T]) -> T:
        """The result of `work`; Problem when it is not there in time."""
        try:
            async with asyncio.timeout(self.left()):
                return await work
        except TimeoutError:
            raise Problem(
                DEADLINE_EXCEEDED,
                f"The request took longer than {self._seconds:g} s; "
                "send it again, with the same Idempotency-Key if it changes the cart.",
                headers=retry_after(1),
            ) from None


async def ask_until(ask: Callable[[], Awaitable[T]], settled: Callable[[T], bool], seconds: float) -> T:
    """Ask again until the answer is settled or `seconds` are over; the last answer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        answer = await ask()
        if settled(answer) or loop.time() + POLL_S > end:
            return answer
        await asyncio.sleep(POLL_S)
