"""How long a killed compaction worker is away, and what it holds in memory, by the number of carts."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.produce import adds, copies, produce, send
from benchmarks.servers import cpu_seconds, rss_bytes
from devstack.embedded import EmbeddedComponent, EmbeddedStack
from devstack.settings import KAFKA
from topics.registry import CARTS, PARTITIONS

SIZES = (20_000, 200_000)
RECORDS = 500_000
ROUNDS = 3
CHANGES_PER_S = 500
WORKS_S = 5.0
"""How long a worker folds before it is killed, and before its memory is looked at."""
POLL_S = 0.02
QUIET_S = 0.5
WITHIN_S = 300.0


class Restart(msgspec.Struct, frozen=True):
    """Seconds from the start of the new process: to its first record in `carts`, and until it is ready.

    `cpu_s` is the processor time it had taken at its first record, `rss_mb` its memory some seconds later.
    """

    folding_s: float
    cpu_s: float
    ready_s: float
    rss_mb: float


class Measured(msgspec.Struct, frozen=True):
    """The first start, with all of `carts` to read, and the starts after kill -9."""

    rebuilt: Restart
    killed: list[Restart]


def run(folder: Path, console: Console, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Kill the worker three times under load, at each number of carts, with 500,000 records in `carts`."""
    found = {size: _measure(folder / str(size), size, console) for size in sizes}
    _print(console, found)
    return {
        str(size): {
            "rebuilt": msgspec.to_builtins(measured.rebuilt),
            "killed": {
                field: median(getattr(each, field) for each in measured.killed)
                for field in Restart.__struct_fields__
            },
        }
        for size, measured in found.items()
    }


def _measure(folder: Path, carts: int, console: Console) -> Measured:
    with EmbeddedStack(folder, only=(KAFKA, "topics", "compaction")) as stack:
        worker = stack.component("compaction")
        worker.kill()
        console.print(f"producing {RECORDS} records of {carts} carts ...")
        produce(stack.urls.kafka_bootstrap, copies(RECORDS, carts))
        with _load(stack.urls.kafka_bootstrap, carts):
            rebuilt = _start(stack, worker)
            console.print(f"{carts} carts, all of carts to read: {_sentence(rebuilt)}")
            killed: list[Restart] = []
            for turn in range(ROUNDS):
                worker.kill()
                killed.append(_start(stack, worker))
                console.print(f"{carts} carts, kill -9 {turn + 1}/{ROUNDS}: {_sentence(killed[-1])}")
    return Measured(rebuilt, killed)


def _start(stack: EmbeddedStack, worker: EmbeddedComponent) -> Restart:
    """Start the worker, which is dead, and let it fold for a while."""
    before = asyncio.run(_resting_end(stack.urls.kafka_bootstrap))
    with ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        ready = pool.submit(_seconds_until_ready, worker)
        asyncio.run(_end_above(stack.urls.kafka_bootstrap, before))
        folding_s = time.perf_counter() - began
        cpu_s = cpu_seconds(stack, ["compaction"])["compaction"]
        ready_s = ready.result()
    time.sleep(WORKS_S)
    return Restart(folding_s, cpu_s, ready_s, rss_bytes(stack, ["compaction"])["compaction"] / 1e6)


def _seconds_until_ready(worker: EmbeddedComponent) -> float:
    began = time.perf_counter()
    worker.start()
    return time.perf_counter() - began


async def _resting_end(bootstrap: str) -> int:
    """The end of `carts` once what the dead worker had sent has arrived."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        before, end = -1, await _end(consumer)
        while end > before:
            await asyncio.sleep(QUIET_S)
            before, end = end, await _end(consumer)
    return end


async def _end_above(bootstrap: str, before: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        while await _end(consumer) <= before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing is folded in {WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)


async def _end(consumer: AIOKafkaConsumer) -> int:
    ends = await consumer.end_offsets([TopicPartition(CARTS.name, n) for n in range(PARTITIONS)])
    return sum(ends.values())


@contextmanager
def _load(bootstrap: str, carts: int) -> Iterator[None]:
    """Changes of all carts meanwhile, at a steady pace."""
    over = threading.Event()

    feeding = threading.Thread(target=asyncio.run, args=(_feed(bootstrap, carts, over),))
    feeding.start()
    try:
        yield
    finally:
        over.set()
        feeding.join()


async def _feed(bootstrap: str, carts: int, over: threading.Event) -> None:
    records = adds(carts)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5) as producer:
        while not over.is_set():
            sent = [await send(producer, record) for record in islice(records, CHANGES_PER_S // 10)]
            await asyncio.gather(*sent, asyncio.sleep(0.1))


def _sentence(restart: Restart) -> str:
    return (
        f"folding again {restart.folding_s:.2f} s after its start ({restart.cpu_s:.2f} s of CPU), "
        f"ready after {restart.ready_s:.2f} s, {restart.rss_mb:.0f} MB"
    )


def _print(console: Console, found: dict[int, Measured]) -> None:
    table = Table(title=f"a compaction worker, {RECORDS} records in carts, {CHANGES_PER_S} changes/s")
    for heading in ("carts", "", "folding again, s", "its CPU, s", "ready, s", "memory, MB"):
        table.add_column(heading, justify="right")
    for carts, measured in found.items():
        for name, some in (("all to read", [measured.rebuilt]), ("kill -9, median", measured.killed)):
            figures = [median(getattr(each, field) for each in some) for field in Restart.__struct_fields__]
            table.add_row(str(carts), name, *(f"{figure:.2f}" for figure in figures[:3]), f"{figures[3]:.0f}")
    console.print(table)
