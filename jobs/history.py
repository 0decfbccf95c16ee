"""The job that keeps the partitions of the history: makes those around today, drops the oldest."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog

from jobs import metrics
from jobs.settings import JobsSettings
from store.postgres import history
from topics.registry import CART_CHANGED, DEAD_LETTERS

log = structlog.get_logger(__name__)

DAYS_AHEAD: Final = 3
"""While this job is away for less than these, no operation is without its partition."""
DAYS_BACK: Final = CART_CHANGED.outlived_by.days
"""A history that is switched on begins with what the topic still has."""


class HistoryJob:
    """Looks at the partitions at intervals; makes none where there is no history, but drops what is old."""

    name = "history"

    def __init__(self, settings: JobsSettings) -> None:
        self._settings = settings

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Keep the partitions until cancelled. Raises psycopg.Error."""
        while True:
            await self.round(connection, datetime.now(UTC).date())
            metrics.succeeded(self.name)
            await asyncio.sleep(self._settings.history_pause_s)

    async def round(self, connection: psycopg.AsyncConnection[Any], today: date) -> None:
        """Do what is to be done on a day. Raises psycopg.Error."""
        found = await history.partitions(connection)
        oldest = today - timedelta(days=self._settings.history_days)
        if self._settings.history:
            back = min(DAYS_BACK, self._settings.history_days)
            days = {today + timedelta(days=day) for day in range(-back, DAYS_AHEAD + 1)}
            await self._make(connection, sorted(days - {each.day for each in found}))
        for partition in found:
            if partition.day < oldest:
                await history.drop_partition(connection, partition)
                metrics.HISTORY_PARTITIONS_DROPPED.inc()
                log.info("history.dropped", day=partition.day.isoformat())
        await history.delete_from_rest(connection, oldest)
        await history.forget_erasures(
            connection, max(DEAD_LETTERS.outlived_by, timedelta(days=self._settings.history_days))
        )

    async def _make(self, connection: psycopg.AsyncConnection[Any], days: Iterable[date]) -> None:
        for day in days:
            if await history.create_partition(connection, day):
                log.info("history.partition", day=day.isoformat())
            else:
                # They stay where they are, and go when they are old.
                log.warning("history.day_is_in_rest", day=day.isoformat())
