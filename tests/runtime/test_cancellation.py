"""A task that misses its cancellation is told again."""

import asyncio

from runtime.cancellation import cancel_until_ended


async def test_a_task_that_forgets_a_cancellation_is_ended() -> None:
    begun = asyncio.Event()
    forgotten = 0

    async def forget_one() -> None:
        nonlocal forgotten
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            forgotten += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(forget_one())
    await begun.wait()
    cancel_until_ended(task)
    await asyncio.wait([task])
    assert (forgotten, task.cancelled()) == (1, True)
