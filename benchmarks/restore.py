"""Carts per second of a restore, against `redis-cli --pipe` with the very same commands in the same run."""

import asyncio
import logging
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

import structlog
import uvloop
from rich.console import Console

from benchmarks.produce import produce, states
from carts.lifetime import Lifetime
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, REDIS
from runtime.garbage import collect_seldom
from sinks.redis.restore import Restorer
from sinks.redis.restore_slots import RestoreSlots
from sinks.redis.settings import RedisSinkSettings
from store.redis import CartStore, Layout, PipelinedClient
from store.redis.scripts import Script

CARTS = 200_000
ROUNDS = 3
NEVER_IDLE_S = 10**8


class RecordingClient(PipelinedClient):
    """Keeps what it sends, so that redis-cli can send the same."""

    def __init__(self, settings: RedisSinkSettings) -> None:
        super().__init__(settings)
        self.sent: list[bytes] = []

    async def call(self, script: Script, slot: int, packed: bytes) -> Any:
        """As PipelinedClient's, and remembered: all that a restoration writes."""
        self.sent.append(packed)
        return await super().call(script, slot, packed)


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Restore 200,000 carts of 3 lines; one recording round, then paired rounds with redis-cli."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    collect_seldom()  # as the agent's own process does
    with EmbeddedStack(folder, only=(KAFKA, REDIS, "topics")) as stack:
        produce(stack.urls.kafka_bootstrap, states(CARTS))
        settings = RedisSinkSettings(
            kafka_bootstrap=stack.urls.kafka_bootstrap, redis_url=stack.urls.redis, redis_timeout_s=60.0
        )
        commands = folder / "commands.resp"
        recorder = RecordingClient(settings)
        uvloop.run(_restore(recorder, settings))
        commands.write_bytes(b"".join(recorder.sent))
        ours, theirs = [], []
        for turn in range(ROUNDS):
            ours.append(CARTS / uvloop.run(_restore(PipelinedClient(settings), settings)))
            if shutil.which("redis-cli") is None:
                console.print(
                    "[yellow]redis-cli is not installed: no comparison (apt-get install redis-tools)[/yellow]"
                )
                return {"restore_per_s": ours[0]}
            theirs.append(CARTS / _pipe(stack.settings.redis_port, commands))
            console.print(
                f"round {turn + 1}/{ROUNDS}  restore {ours[-1]:.0f}/s  redis-cli --pipe {theirs[-1]:.0f}/s"
            )
    share = median(mine / pipe for mine, pipe in zip(ours, theirs, strict=True))
    console.print(
        f"restore: {median(ours):.0f} carts/s = {share:.0%} of redis-cli --pipe ({median(theirs):.0f}/s)"
    )
    return {"restore_per_s": median(ours), "pipe_per_s": median(theirs), "share": share}


async def _restore(client: PipelinedClient, settings: RedisSinkSettings) -> float:
    """Seconds for all partitions, into an empty Redis."""
    async with client:
        await client.execute("FLUSHALL")
        layout = Layout(settings.partitions)
        restorer = Restorer(CartStore(client, layout), layout, settings, Lifetime(idle_s=NEVER_IDLE_S))
        slots = RestoreSlots(settings.restore_parallel)

        async def restore(partition: int) -> None:
            async with slots.slot(partition):
                await restorer.restore(partition)

        started = time.perf_counter()
        await asyncio.gather(*(restore(partition) for partition in range(settings.partitions)))
        return time.perf_counter() - started


def _pipe(port: int, commands: Path) -> float:
    """Seconds that redis-cli --pipe takes for the same commands, into an empty Redis."""
    subprocess.run(["redis-cli", "-p", str(port), "flushall"], check=True, stdout=subprocess.DEVNULL)
    started = time.perf_counter()
    with commands.open("rb") as stream:
        subprocess.run(
            ["redis-cli", "-p", str(port), "--pipe"], check=True, stdin=stream, stdout=subprocess.DEVNULL
        )
    return time.perf_counter() - started
