"""Lets work finish when its process is stopped in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


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
