"""Several compaction workers under load: they come, are killed, renewed and go, and no change is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from runtime.failstop import EXIT_RESTART
from runtime.settings import KafkaSettings
from tests.streams.conftest import Shopper, Topics
from tests.support.groups import until_shared
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.groups import COMPACTION
from topics.registry import PARTITIONS

NewShopper = Callable[[], Shopper]

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

SHOPPERS = 16
NAMES = ("several-0", "several-1", "several-2")


@asynccontextmanager
async def shopping(topics: Topics, shoppers: list[Shopper]) -> AsyncIterator[dict[str, int]]:
    """Changes of all carts all the time; yields how many of each cart were acknowledged."""
    acknowledged = {shopper.cart_id: 0 for shopper in shoppers}
    ended = asyncio.Event()

    async def shop() -> None:
        while not ended.is_set():
            await topics.change(*(shopper.change() for shopper in shoppers))
            for cart_id in acknowledged:
                acknowledged[cart_id] += 1
            await asyncio.sleep(0.3)

    shop_task = asyncio.create_task(shop())
    try:
        yield acknowledged
    finally:
        ended.set()
        await shop_task


@contextmanager
def killed_at_the_end(process: AgentProcess) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


async def test_workers_come_are_killed_renewed_and_go_and_no_change_is_lost(
    kafka: KafkaSettings,
    topics: Topics,
    workers: Callable[[str], AgentProcess],
    new_shopper: NewShopper,
    tmp_path: Path,
) -> None:
    shoppers = [new_shopper() for _ in range(SHOPPERS)]
    alone = workers("alone")
    await alone.start()
    command = ("streams", "compaction", "--workers", "3")
    environment = {
        "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
        "CARTSTREAM_GROUP_INSTANCE_ID": "several",
    }
    async with shopping(topics, shoppers) as acknowledged:
        several = AgentProcess(command, environment, tmp_path, "several")
        with killed_at_the_end(several):
            await several.start()
            # On a machine without time to spare it has taken itself for frozen; nobody starts it again here.
            assert await alone.stop() in {0, EXIT_RESTART}
            report = await until_shared(kafka, COMPACTION, 3)
            first = several.workers()
            assert {member.instance_id for member in report.members} == first.keys() == set(NAMES)
            assert (report.spare, report.unowned) == ([], [])

            os.kill(first["several-1"], signal.SIGKILL)
            await until(
                lambda: is_new(several, first, ["several-1"]), "the killed worker is back", every_s=0.3
            )

            several.send(signal.SIGHUP)
            await until(lambda: is_new(several, first, NAMES), "all workers are renewed", every_s=0.3)
            await until_shared(kafka, COMPACTION, 3)

            other = workers("other")
            await other.start()
            assert await several.stop() == 0
    await until(other.is_ready, "the last worker is at work")
    for cart_id, count in acknowledged.items():
        cart = await topics.until_counted(cart_id, count)
        assert (cart.state.operation_count, sum(line.quantity for line in cart.lines)) == (count, count)
    report = await until_shared(kafka, COMPACTION, 1)
    assert [len(member.partitions) for member in report.members] == [PARTITIONS]


def is_new(process: AgentProcess, before: dict[str, int], names: Sequence[str]) -> bool:
    now = process.workers()
    replaced = len(now) == len(before) and all(now[name] != before[name] for name in names)
    return replaced and process.ready_file.exists()


async def test_more_workers_than_partitions_are_refused_with_a_sentence(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    environment = {"CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap}
    process = AgentProcess(("streams", "compaction", "--workers", "17"), environment, tmp_path, "many")
    process.launch()
    assert await asyncio.to_thread(process.wait) == 1
    assert "17 workers cannot share 16 partitions" in process.tail
    assert "Traceback" not in process.tail
