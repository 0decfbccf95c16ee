"""The job that finds merges which stopped half-way, and hands them to the merge agent.

A transfer is settled once both folded carts have it. A merge that nobody carries on, or whose transfer one
of the carts lacks, goes to `cart-merges`. The job also looks again at guests' carts that were merged: a write
that a failover of Redis has let in follows the others.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import psycopg
import structlog

from carts.lifetime import Lifetime
from carts.merging import is_owing, knows_transfer
from carts.protocol import too_stale
from jobs import metrics
from jobs.settings import JobsSettings
from merges.handover import hand_over
from runtime.clock import clock_us
from store.postgres import merges
from store.postgres.merges import Unsettled

log = structlog.get_logger(__name__)

PAGE: Final = 200


def is_settled(transfer: Unsettled, now_us: int, lifetime: Lifetime) -> bool:
    """Whether both folded carts have the transfer, or are gone for good."""
    return not lacks_in_user(transfer, now_us, lifetime) and not lacks_in_guest(transfer, now_us, lifetime)


def is_due(transfer: Unsettled, now_us: int, lifetime: Lifetime) -> bool:
    """Whether there is something to do about it. A guest's cart that has expired makes it wait."""
    waits = transfer.guest is not None and transfer.guest.expired
    return lacks_in_user(transfer, now_us, lifetime) or (
        lacks_in_guest(transfer, now_us, lifetime) and not waits
    )


def lacks_in_user(transfer: Unsettled, now_us: int, lifetime: Lifetime) -> bool:
    """Whether the user's cart has yet to get what the transfer brings it."""
    decided = transfer.transfer
    if not decided.place:
        return False
    if transfer.user is None:
        return not _is_over(transfer, now_us, lifetime)
    return not knows_transfer(transfer.user, decided.place, decided.decided_version)


def lacks_in_guest(transfer: Unsettled, now_us: int, lifetime: Lifetime) -> bool:
    """Whether the transfer has yet to be taken out of the guest's cart."""
    decided = transfer.transfer
    if transfer.guest is None:
        return not _is_over(transfer, now_us, lifetime)
    return not knows_transfer(transfer.guest, decided.number, decided.decided_version)


def _is_over(transfer: Unsettled, now_us: int, lifetime: Lifetime) -> bool:
    """Whether a cart without a row has been deleted since: it had been expired for the retention time."""
    return bool(lifetime.retention_s) and too_stale(
        transfer.transfer.decided_version, now_us, lifetime.retention_s * 1_000_000
    )


class MergeJob:
    """Goes through unsettled transfers and unfinished merges again and again."""

    name = "merges"

    def __init__(self, settings: JobsSettings, clock: Callable[[], int] = clock_us) -> None:
        self._settings = settings
        self._clock = clock

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Find and hand over until cancelled. Raises psycopg.Error."""
        looked_at = -self._settings.merge_watch_pause_s
        while True:
            await self.round(connection)
            if time.monotonic() - looked_at >= self._settings.merge_watch_pause_s:
                await self.look_again(connection)
                await self._forget(connection)
                looked_at = time.monotonic()
            metrics.succeeded(self.name)
            await asyncio.sleep(self._settings.merge_pause_s)

    async def round(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Settle what is settled, hand over what is not; how many merges were handed over."""
        grace = timedelta(seconds=self._settings.merge_grace_s)
        due = set(await merges.unattended(connection, grace, PAGE))
        after, waiting = ("", 0), 0
        while page := await merges.unsettled(connection, after, grace, PAGE):
            after = page[-1].merge_id, page[-1].number
            now_us, lifetime = self._clock(), self._settings.lifetime
            settled = [each for each in page if is_settled(each, now_us, lifetime)]
            await merges.settle(connection, settled)
            waiting += len(page) - len(settled)
            due |= {each.merge_id for each in page if is_due(each, now_us, lifetime)}
        metrics.TRANSFERS_UNSETTLED.set(waiting)
        async with connection.transaction():
            handed = await hand_over(connection, sorted(due), grace)
        metrics.MERGES_HANDED_OVER.inc(handed)
        if handed:
            log.info("merges.handed_over", merges=handed)
        return handed

    async def look_again(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Take up merges again whose guests' carts have changed and hold lines; how many."""
        watched = timedelta(days=self._settings.merge_watch_days)
        after_id, taken_up = "", 0
        while page := await merges.changed(connection, after_id, watched, PAGE):
            after_id = page[-1].merge_id
            owing = [each.merge_id for each in page if not each.guest.expired and is_owing(each.guest)]
            async with connection.transaction():
                await merges.note_looks(connection, page)
                await merges.take_up_again(connection, owing)
            taken_up += len(owing)
        metrics.MERGES_TAKEN_UP.inc(taken_up)
        return taken_up

    async def _forget(self, connection: psycopg.AsyncConnection[Any]) -> None:
        kept = timedelta(days=self._settings.merge_watch_days)
        while await merges.forget(connection, kept, PAGE) == PAGE:
            pass
