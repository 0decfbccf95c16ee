"""Lets work finish when its process is stopped in the middle of it, and ends tasks that do not listen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

_AGAIN_S: Final = 0.1


async def to_its_end(work: Awaitable[None], within_s: float) -> None:
    """Await the work; when cancelled meanwhile, give it `within_s` seconds to end, then pass the cancel on.

    For steps that would be repeated if they were cut off. Raises what the work raises, unless cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=within_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def cancel_until_ended(task: asyncio.Task[Any]) -> None:
    """Cancel the task, again and again until it has ended.

    `asyncio.wait_for` of Python 3.11, with which redis-py sends, forgets a cancellation that comes in the
    same moment as the end of what it waits for.
    """
    if not task.done():
        task.cancel()
        task.get_loop().call_later(_AGAIN_S, cancel_until_ended, task)
