"""The compaction agent: folds `cart-changed` into the table behind `carts`, as `run_fold` decides."""

import asyncio
import time
from collections.abc import Generator
from functools import partial
from typing import Any, Final, TypeVar

import faust

from carts.fold import Verdict
from delivery.app import DeliveryApp, create_app
from delivery.consumption import runs
from delivery.runs import RunLimits
from runtime import tracing
from streams import metrics
from streams.decisions import Rules
from streams.purge_floors import PurgeFloors
from streams.recovery import Recovery
from streams.run_fold import fold_run
from streams.settings import StreamsSettings
from streams.tracing import TracedRun
from topics.groups import COMPACTION
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, CARTS

T = TypeVar("T")

RUNS: Final = RunLimits(records=1000, size=1 << 20, linger_s=0.4)
"""Without a linger the runs of a quiet shop have one or two records, and cost more than the fold."""
SLICE_S: Final = 0.02
"""So long a fold keeps the event loop, and with it heartbeats and answers of the broker, waiting."""


def create_compaction(settings: StreamsSettings) -> DeliveryApp:
    """The app of the compaction agent. Connects to nothing."""
    app = create_app(COMPACTION, settings, RUNS)
    recovery = Recovery(settings.partitions)
    floors = PurgeFloors(app, recovery)
    carts = app.changelog_table(
        CARTS.name,
        keep=recovery.keep,
        headers_of=recovery.headers_of,
        opened=recovery.opened,
        replaying=floors.replaying,
        compression=CARTS.compression,
    )
    rules = Rules(retention_us=settings.retention_us, max_bytes=settings.max_record_bytes)
    counted = {verdict: metrics.EVENTS.labels(verdict) for verdict in Verdict}
    right_partition = partial(partition_of, partitions=settings.partitions)

    async def compact(stream: faust.StreamT[Any]) -> None:
        async for run in runs(stream, right_partition):
            traced = None if tracing.active is None else TracedRun(tracing.active, run.records)
            purge_floor, lookup = recovery.floor(run.partition), partial(carts.lookup, run)
            folded = await in_slices(fold_run(run.records, run.partition, purge_floor, lookup, rules))
            if folded.floor is not None:
                await floors.lift(folded.floor)
            for emission in folded.emissions:
                metrics.RECORD_BYTES.observe(len(emission.value or b""))
            await carts.emit(run, folded.emissions if traced is None else traced.emissions(folded.emissions))
            if traced is not None:
                traced.end()
            await asyncio.gather(
                *(app.refuse(record, refusal.code, refusal.detail) for record, refusal in folded.refused)
            )
            for verdict, count in folded.verdicts.items():
                counted[verdict].inc(count)

    app.agent(app.source(CART_CHANGED.name), name="compaction")(compact)
    return app


async def in_slices(work: Generator[None, None, T]) -> T:
    """What `work` returns; where it yields, the event loop gets a turn from time to time."""
    began = time.monotonic()
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        if time.monotonic() - began > SLICE_S:
            await asyncio.sleep(0)
            began = time.monotonic()
