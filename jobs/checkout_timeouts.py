"""The job that ends checkouts which the owner of orders, elsewhere, has not answered in time.

The cart can be checked out again at once; an answer that comes late is still taken in.
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
    """Looks for overdue checkouts again and again."""

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
        """End everything that is overdue now; how many that were. Raises psycopg.Error."""
        total = 0
        while expired := await checkouts.expire(connection, PAGE):
            total += len(expired)
            metrics.CHECKOUTS_EXPIRED.inc(len(expired))
            log.info("checkouts.expired", checkouts=len(expired))
        return total
