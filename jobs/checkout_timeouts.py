"""The job that ends external checkouts which the owner of orders has not completed in time.

The cart can then be checked out again. A late completion is still accepted.
"""

import asyncio
from typing import Any, Final

import psycopg
import structlog

from jobs import metrics
from jobs.settings import JobsSettings
from store.postgres import checkouts

log = structlog.get_logger(__name__)

PAGE: Final = 500


class CheckoutTimeouts:
    """Looks for overdue checkouts at intervals."""

    name = "checkout-timeouts"

    def __init__(self, settings: JobsSettings) -> None:
        self._settings = settings

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """End overdue checkouts until cancelled. Raises psycopg.Error."""
        while True:
            await self.round(connection)
            metrics.succeeded(self.name)
            await asyncio.sleep(self._settings.checkout_sweep_s)

    async def round(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """End all checkouts that are overdue now; their number. Raises psycopg.Error."""
        total = 0
        while expired := await checkouts.expire(connection, PAGE):
            total += len(expired)
            metrics.CHECKOUTS_EXPIRED.inc(len(expired))
            log.info("checkouts.expired", checkouts=len(expired))
        return total
