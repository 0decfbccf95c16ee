"""The job that keeps the partitions of the history: makes those of the next days, drops the oldest."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog

from jobs import metrics
from jobs.settings import JobsSettings
from store.postgres import history
from topics.registry import DEAD_LETTERS

log = structlog.get_logger(__name__)

DAYS_AHEAD: Final = 3
"""From today on: while this job is away for less than these, no operation is without its partition."""


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
        if self._settings.history:
            await self._make_ahead(connection, {each.day for each in found}, today)
        oldest = today - timedelta(days=self._settings.history_days)
        for partition in found:
            if partition.day < oldest:
                await history.drop_partition(connection, partition)
                metrics.HISTORY_PARTITIONS_DROPPED.inc()
                log.info("history.dropped", day=partition.day.isoformat())
        await history.delete_from_rest(connection, oldest)
        await history.forget_erasures(
            connection, max(DEAD_LETTERS.outlived_by, timedelta(days=self._settings.history_days))
        )

    async def _make_ahead(
        self, connection: psycopg.AsyncConnection[Any], there: set[date], today: date
    ) -> None:
        for day in (today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)):
            if day in there:
                continue
            if await history.create_partition(connection, day):
                log.info("history.partition", day=day.isoformat())
            else:
                # They stay where they are, and go when they are old.
                log.warning("history.day_is_in_rest", day=day.isoformat())
