"""`cartstream restore`: it asks for what is missing, and ends when all partitions are ready."""

import asyncio

import pytest

from tests.ops.command_line import CommandLine
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.support.waiting import until

MISSING = 3
ALL_READY = f"all {LAYOUT.partitions} partitions are ready"


async def finish(redis: Redis, partition: int) -> None:
    """What the restore agent does at last."""
    await redis.store.restore_finish(partition, await redis.store.restore_begin(partition), 0, 0)


@pytest.fixture
async def restored(redis: Redis) -> Redis:
    """A Redis with every partition ready, and no agent."""
    for partition in range(LAYOUT.partitions):
        await finish(redis, partition)
    return redis


@pytest.mark.usefixtures("restored")
async def test_nothing_to_restore_is_said_at_once(command_line: CommandLine) -> None:
    answer = await command_line.run("restore")
    assert (answer.status, answer.output) == (0, f"{ALL_READY}\n")


async def test_a_partition_that_is_still_being_warmed_is_told(
    command_line: CommandLine, restored: Redis
) -> None:
    token = await restored.store.restore_begin(MISSING)
    await restored.store.restore_finish(MISSING, token, 0, 9, rows_position=7)
    answer = await command_line.run("restore")
    assert answer.status == 0
    assert answer.output.startswith(f"{ALL_READY}\n1 of them are being warmed")


async def test_it_asks_for_a_partition_and_waits_until_it_is_ready(
    command_line: CommandLine, restored: Redis
) -> None:
    restoring = asyncio.create_task(command_line.run("restore", "--partition", str(MISSING)))

    async def is_requested() -> bool:
        return await restored.store.restore_requests() == {MISSING}

    await until(is_requested, "the partition asked for")
    assert MISSING not in await restored.store.ready_partitions()
    assert not restoring.done()
    await finish(restored, MISSING)
    answer = await restoring
    assert (answer.status, answer.output) == (0, f"{ALL_READY}\n")


async def test_a_partition_that_does_not_exist_is_refused(command_line: CommandLine) -> None:
    answer = await command_line.run("restore", "--partition", str(LAYOUT.partitions))
    assert answer.status == 2
    assert f"there is no partition {LAYOUT.partitions}" in answer.errors
