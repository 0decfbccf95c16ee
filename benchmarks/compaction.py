"""Events per second of one compaction worker, on both stores, from a topic that is full already."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from benchmarks.produce import changes, produce
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from topics.groups import COMPACTION
from topics.registry import CART_CHANGED, PARTITIONS

EVENTS = 60_000
CARTS = 4000
STORES = ("memory", "rocksdict")
TIMEOUT_S = 300.0


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Both stores, one after the other, each on a fresh broker."""
    return {store: _measure(folder / store, store, console) for store in STORES}


def _measure(folder: Path, store: str, console: Console) -> dict[str, float]:
    only = (KAFKA, "topics", "compaction")
    os.environ["CARTSTREAM_STORE"] = store  # the stack's processes inherit it
    with EmbeddedStack(folder, only=only) as stack:
        worker = stack.component("compaction")
        worker.stop()
        produce(stack.urls.kafka_bootstrap, changes(EVENTS, CARTS))
        worker.start()
        first, started = asyncio.run(_committed(stack.urls.kafka_bootstrap)), time.perf_counter()
        process = psutil.Process(worker.pid)
        cpu = sum(process.cpu_times()[:2])
        done = first
        while done < EVENTS:
            if time.perf_counter() - started > TIMEOUT_S:
                raise TimeoutError(f"{done} of {EVENTS} events folded in {TIMEOUT_S:.0f} s")
            time.sleep(0.2)
            done = asyncio.run(_committed(stack.urls.kafka_bootstrap))
        seconds = time.perf_counter() - started
        rate = (EVENTS - first) / seconds
        spent = (sum(process.cpu_times()[:2]) - cpu) / (EVENTS - first) * 1e6
    console.print(f"compaction on {store}: {rate:.0f} events/s, {spent:.0f} µs of CPU an event")
    return {"events_per_s": rate, "cpu_us_per_event": spent}


async def _committed(bootstrap: str) -> int:
    """Events that the worker has folded and committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=COMPACTION, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(CART_CHANGED.name, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        return sum([await consumer.committed(place) or 0 for place in places])
    finally:
        await consumer.stop()
