"""Whose partition is restored next."""

import asyncio

from sinks.redis.restore_slots import RestoreSlots


async def order_of(slots: RestoreSlots, partitions: list[int]) -> list[int]:
    """The order in which partitions get their slot, all asking at once while one has it."""
    begun: list[int] = []
    first = asyncio.Event()

    async def restore(partition: int) -> None:
        async with slots.slot(partition):
            begun.append(partition)
            await first.wait()

    async with asyncio.TaskGroup() as group:
        for partition in partitions:
            group.create_task(restore(partition))
        await asyncio.sleep(0)
        first.set()
    return begun


async def test_partitions_somebody_waits_for_come_first() -> None:
    slots = RestoreSlots(1)
    slots.requested = {5, 3}
    assert await order_of(slots, [0, 1, 2, 3, 4, 5]) == [0, 3, 5, 1, 2, 4]


async def test_only_a_few_have_a_slot_at_once() -> None:
    slots = RestoreSlots(3)
    now, most = 0, 0

    async def restore(partition: int) -> None:
        nonlocal now, most
        async with slots.slot(partition):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async with asyncio.TaskGroup() as group:
        for partition in range(20):
            group.create_task(restore(partition))
    assert most == 3


async def test_whoever_is_cancelled_while_waiting_or_at_work_gives_the_slot_on() -> None:
    slots = RestoreSlots(1)
    never = asyncio.Event()

    async def restore(partition: int) -> None:
        async with slots.slot(partition):
            await never.wait()

    tasks = [asyncio.create_task(restore(partition)) for partition in range(6)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10), slots.slot(9):
        pass
