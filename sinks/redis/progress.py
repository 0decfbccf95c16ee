"""Progress of a restore: for the log, the metrics, and a key in Redis that `cartstream restore` reads."""

import time
from contextlib import suppress
from typing import Final

import msgspec

from sinks.redis import metrics
from store.redis import Layout, PipelinedClient, StoreFull

EXPIRES_SECONDS: Final = 10
"""A report that is not renewed belongs to an agent that has died."""


class Report(msgspec.Struct, frozen=True):
    """A restore in progress: `percent` of the records read, `eta_s` seconds left at this pace."""

    partition: int
    percent: float
    carts: int
    carts_per_s: float
    seconds: float
    eta_s: float | None


class Progress:
    """The progress of one partition; `total` records to read."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.total = 0
        self.done = 0
        self.carts = 0
        self._began = time.monotonic()

    def report(self) -> Report:
        """The current figures."""
        seconds = time.monotonic() - self._began
        share = min(1.0, self.done / self.total) if self.total else 0.0
        return Report(
            self.partition,
            round(100 * share, 1),
            self.carts,
            round(self.carts / seconds, 1) if seconds else 0.0,
            round(seconds, 3),
            round(seconds / share - seconds, 1) if share else None,
        )


async def publish(client: PipelinedClient, layout: Layout, report: Report) -> None:
    """Store the report for the command to read; a full Redis does not get it. Raises StoreError."""
    metrics.RESTORE_PERCENT.labels(report.partition).set(report.percent)
    value = msgspec.json.encode(report)
    with suppress(StoreFull):
        key = layout.of_partition(report.partition).restore_progress
        await client.execute("SET", key, value, "EX", EXPIRES_SECONDS)


async def read(client: PipelinedClient, layout: Layout, partition: int) -> Report | None:
    """The last report of a restore in progress. Raises store.errors.StoreError."""
    value = await client.execute("GET", layout.of_partition(partition).restore_progress)
    return msgspec.json.decode(value, type=Report) if value else None
