"""Waits for a condition, never for a time."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

PATIENCE_S: Final = float(os.environ.get("CARTSTREAM_TEST_PATIENCE_S", "120"))
"""How long a condition may take to become true on a machine that has other work."""

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Awaitable[T]], what: str = ..., within_s: float = ..., every_s: float = ...
) -> T: ...


@overload
async def until(
    condition: Callable[[], T], what: str = ..., within_s: float = ..., every_s: float = ...
) -> T: ...


async def until(
    condition: Callable[[], Any],
    what: str = "the condition",
    within_s: float = PATIENCE_S,
    every_s: float = 0.05,
) -> Any:
    """What the condition returns once that is true; the event loop goes on meanwhile.

    Raises AssertionError with `what` if it does not become true.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        await asyncio.sleep(every_s)


def until_blocking(
    condition: Callable[[], T],
    what: str = "the condition",
    within_s: float = PATIENCE_S,
    every_s: float = 0.05,
) -> T:
    """The same for tests and fixtures that are no coroutines."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(every_s)
    return found
