"""Carts move to another number of partitions on three brokers, one of which dies while writes wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from devstack.settings import POSTGRES, REDIS
from tests.cli.test_repartition import (
    PATIENTLY,
    Generation,
    Load,
    everything_is_there,
    moved,
    nothing_old_is_left_after_a_drop,
    opened,
    shop_on,
    tell,
)
from tests.support.brokers import Brokers
from tests.support.servers import Servers

pytestmark = [pytest.mark.brokers, pytest.mark.timeout(900)]


@asynccontextmanager
async def supervised(*generations: Generation) -> AsyncIterator[None]:
    """Agents that ask for it are started again: one that has lost its broker does."""

    async def again() -> None:
        while True:
            for generation in generations:
                for agent in generation.agents:
                    agent.is_ready()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended


async def moved_while_a_broker_dies(brokers: Brokers, generation: Generation) -> tuple[int, str]:
    """Kill the leader of changes as soon as writes wait; the command's exit code and what it has said."""
    dying = await brokers.leader(f"{generation.environment['CARTSTREAM_PREFIX']}.cart-changed")
    process = generation.popen("topics", "repartition", "16", "48", *PATIENTLY)
    assert process.stdout is not None
    said = ""
    while line := await asyncio.to_thread(process.stdout.readline):
        said += line
        if "writes wait from now on" in line:
            await brokers.kill(dying)
    process.stdout.close()
    return await asyncio.to_thread(process.wait), said


async def test_carts_move_there_and_back_though_a_broker_dies(
    servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis, postgres = [await asyncio.to_thread(servers.url, name) for name in (REDIS, POSTGRES)]
    async with AsyncExitStack() as cleanup:
        brokers = await cleanup.enter_async_context(Brokers(tmp_path / "brokers"))
        shop = cleanup.enter_context(shop_on(brokers.bootstrap, redis, postgres))
        first = await cleanup.enter_async_context(opened(shop, tmp_path))
        second, third = Generation(shop, 2, 48, tmp_path), Generation(shop, 3, 16, tmp_path)
        for each in (second, third):
            cleanup.callback(each.kill)
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
            second.launch()
            load.gateways = [first.gateway.url, second.gateway.url]
            async with supervised(first, second):
                code, said = await moved_while_a_broker_dies(brokers, first)
                told = [f"with a broker that dies it ended with {code}\n{said}"]
                assert "writes wait" in said
                await load.until_more()
                await brokers.mend()
            if code:
                # It was taken back: writes go on where they were, and the command is run again.
                assert "Traceback" not in said
                second.kill()  # it is launched again there
                told.append(await moved(load, first, second))
            first.kill()
            load.gateways = [second.gateway.url]
            await second.until_ready()
            await load.until_more()
            told.append(await moved(load, second, third))
            await load.until_more()
        await everything_is_there(load, third)
        tell(capsys, *told, f"{load.count} adds acknowledged, 0 lost, 0 doubled")
        await nothing_old_is_left_after_a_drop(third)
