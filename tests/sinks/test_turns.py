"""Whose partition is restored next."""

import asyncio

from sinks.redis.restore_slots import Turns


async def order_of(turns: Turns, partitions: list[int]) -> list[int]:
    """The order in which partitions get their turn, all asking at once while one has it."""
    begun: list[int] = []
    first = asyncio.Event()

    async def restore(partition: int) -> None:
        async with turns.turn(partition):
            begun.append(partition)
            await first.wait()

    async with asyncio.TaskGroup() as group:
        for partition in partitions:
            group.create_task(restore(partition))
        await asyncio.sleep(0)
        first.set()
    return begun


async def test_partitions_somebody_waits_for_come_first() -> None:
    turns = Turns(1)
    turns.wished = {5, 3}
    assert await order_of(turns, [0, 1, 2, 3, 4, 5]) == [0, 3, 5, 1, 2, 4]


async def test_only_a_few_have_a_turn_at_once() -> None:
    turns = Turns(3)
    now, most = 0, 0

    async def restore(partition: int) -> None:
        nonlocal now, most
        async with turns.turn(partition):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async with asyncio.TaskGroup() as group:
        for partition in range(20):
            group.create_task(restore(partition))
    assert most == 3


async def test_whoever_is_cancelled_while_waiting_or_at_work_gives_the_turn_on() -> None:
    turns = Turns(1)
    never = asyncio.Event()

    async def restore(partition: int) -> None:
        async with turns.turn(partition):
            await never.wait()

    tasks = [asyncio.create_task(restore(partition)) for partition in range(6)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10), turns.turn(9):
        pass
