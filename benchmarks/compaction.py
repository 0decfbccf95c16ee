"""Events per second of one compaction worker, beside a Faust agent that does nothing, from a full topic."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from benchmarks.produce import changes, produce
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from topics.groups import COMPACTION
from topics.registry import CART_CHANGED, PARTITIONS

EVENTS = 100_000
ROUNDS = 3
TIMEOUT_S = 300.0
POLL_S = 0.05


class Workload(NamedTuple):
    """Adds to so many carts in random order, so many microseconds apart: that makes their windows."""

    carts: int
    gap_us: int


WORKLOADS = {
    "windows of 3 operations": Workload(carts=4000, gap_us=100_000),
    "windows of 60 operations": Workload(carts=400, gap_us=50_000),
}


class Figures(msgspec.Struct, frozen=True):
    """What a worker did with all events of a topic."""

    events_per_s: float
    cpu_us_per_event: float


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Each workload in some rounds on a fresh broker: first the empty agent, then the worker."""
    return {
        name: _compare(folder / str(workload.carts), name, workload, console)
        for name, workload in WORKLOADS.items()
    }


def _compare(folder: Path, name: str, workload: Workload, console: Console) -> dict[str, Any]:
    rounds = [_measure(folder / str(number), workload) for number in range(ROUNDS)]
    empty, worker = (_median(figures) for figures in zip(*rounds, strict=True))
    ratio = statistics.median(ours.events_per_s / theirs.events_per_s for theirs, ours in rounds)
    for what, figures in (("a Faust agent that does nothing", empty), ("compaction", worker)):
        console.print(
            f"{name}: {what}: {figures.events_per_s:.0f} events/s, "
            f"{figures.cpu_us_per_event:.0f} µs of CPU an event"
        )
    console.print(f"{name}: compaction is {ratio:.2f} times as fast (median of {ROUNDS} rounds)")
    return {
        "empty_agent": msgspec.to_builtins(empty),
        "compaction": msgspec.to_builtins(worker),
        "ratio": ratio,
        "rounds": msgspec.to_builtins(rounds),
    }


def _median(figures: tuple[Figures, ...]) -> Figures:
    return Figures(
        statistics.median(each.events_per_s for each in figures),
        statistics.median(each.cpu_us_per_event for each in figures),
    )


def _measure(folder: Path, workload: Workload) -> tuple[Figures, Figures]:
    os.environ["CARTSTREAM_COMMIT_INTERVAL_S"] = "0.1"  # the stack's processes inherit it
    only = (KAFKA, "topics", "compaction")
    with EmbeddedStack(folder, only=only) as stack:
        worker = stack.component("compaction")
        worker.stop()
        bootstrap = stack.urls.kafka_bootstrap
        produce(bootstrap, changes(EVENTS, workload.carts, workload.gap_us))
        empty = _empty_agent(bootstrap, folder)
        worker.start()
        return empty, asyncio.run(_compaction(bootstrap, psutil.Process(worker.pid)))


def _empty_agent(bootstrap: str, folder: Path) -> Figures:
    arguments = [bootstrap, CART_CHANGED.name, "empty-agent", str(EVENTS), str(folder / "empty-agent")]
    printed = subprocess.check_output(
        [sys.executable, "-m", "benchmarks.empty_agent", *arguments],
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )
    return msgspec.convert(json.loads(printed.splitlines()[-1]), Figures)


async def _compaction(bootstrap: str, process: psutil.Process) -> Figures:
    """From when the worker has committed its first events to when it has committed all."""
    places = [TopicPartition(CART_CHANGED.name, partition) for partition in range(PARTITIONS)]
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=COMPACTION, enable_auto_commit=False
    ) as consumer:
        consumer.assign(places)

        async def folded() -> int:
            return sum([await consumer.committed(place) or 0 for place in places])

        async def more_than(before: int) -> int:
            deadline = time.perf_counter() + TIMEOUT_S
            while (done := await folded()) <= before:
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"{done} of {EVENTS} events folded, and no more in {TIMEOUT_S:.0f} s")
                await asyncio.sleep(POLL_S)
            return done

        first = await more_than(0)
        started, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        await more_than(EVENTS - 1)
        seconds, spent = time.perf_counter() - started, sum(process.cpu_times()[:2]) - cpu
    return Figures((EVENTS - first) / seconds, spent / (EVENTS - first) * 1e6)
