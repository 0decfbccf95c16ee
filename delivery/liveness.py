"""Watches that committed offsets advance while there is lag: a Faust consumer can die without a word."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from faust.types import TP

from delivery import metrics
from delivery.app import DeliveryApp
from delivery.consumer import AccountingConsumer, consumer_of
from delivery.errors import fail_stop

log = structlog.get_logger(__name__)

POLL_S = 2.0
QUIET_S = 5.0
"""Lag without movement for this long: the last record of the log may be one that was lost on its way."""


class Liveness:
    """Lag and movement of every partition of one app."""

    def __init__(self, app: DeliveryApp) -> None:
        self._app = app
        self.lag: dict[TP, int] = {}
        """Log end minus committed offset, as of the last look."""

    @property
    def _consumer(self) -> AccountingConsumer:
        return consumer_of(self._app)

    async def look(self) -> None:
        """Measure the lag, fetch again what may have been lost at the end of a log, look for foreign writes."""
        partitions = self._consumer.ledger.partitions
        ends: Any = await self._consumer.highwaters(*partitions) if partitions else {}
        self.lag = {
            tp: max(0, end - partitions[tp].committable()) for tp, end in ends.items() if tp in partitions
        }
        for tp, lag in self.lag.items():
            metrics.LAG.labels(tp.topic, tp.partition).set(lag)
            if lag and not partitions[tp].handed_out and self._quiet_for(tp) > QUIET_S:
                await self._consumer.fetch_missing(tp)
        for table in self._app.changelog_tables():
            await table.answer_foreign_writes()

    def stalled(self, after_s: float) -> list[TP]:
        """Partitions with lag in which nothing has been processed or tried for `after_s` seconds."""
        return [tp for tp, lag in self.lag.items() if lag and self._quiet_for(tp) > after_s]

    async def watch(self) -> None:
        """Look every few seconds; end the process with code 75 when a partition is stalled."""
        after_s = self._app.settings.stall_after_s
        while True:
            await asyncio.sleep(POLL_S)
            await asyncio.wait_for(self.look(), after_s)
            if stalled := self.stalled(after_s):
                fail_stop("partition.stalled", partitions=stalled, seconds=after_s)

    def _quiet_for(self, tp: TP) -> float:
        partition = self._consumer.ledger.partitions.get(tp)
        return time.monotonic() - partition.moved_at if partition else 0.0
