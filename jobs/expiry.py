"""The job that trims and expires idle carts, and purges carts that have been expired for long.

It finds them among the sink's rows, which may be behind `carts`, and only proposes: the fold takes an expiry
or a purge of just the version that the row had, else it changes nothing. Trims are `jobs/trimming.py`'s.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg
import structlog

from carts.lifetime import Due, Lifetime, due
from carts.operations import Change, Expire, Purge
from carts.state import State, Status
from jobs import metrics
from jobs.settings import JobsSettings
from jobs.trimming import Trimming
from jobs.unreadable_rows import UnreadableRows
from runtime.clock import clock_us
from store.postgres import carts
from store.postgres.carts import RowAge
from topics.publishing import Publisher

log = structlog.get_logger(__name__)

SOURCE: Final = "/cartstream/agents/ageing"
CAUSE: Final = "agents/ageing"
PAGE: Final = 1000
REPORT_SECONDS: Final = 30.0

_STATE: Final = msgspec.json.Decoder(State)


def command(row: RowAge, now_us: int, lifetime: Lifetime) -> Change | None:
    """The change that is due for a row, if any. Raises msgspec.MsgspecError if it cannot be read."""
    status = Status(row.status)
    expired = status is Status.EXPIRED or (row.state is not None and _STATE.decode(row.state).expired)
    what = due(row.cart_id, row.version_number, status, now_us, lifetime, expired=expired)
    if what is None:
        return None
    step = Expire if what is Due.EXPIRE else Purge
    return Change(
        cart_id=row.cart_id,
        version=2 * now_us,
        op_id=f"!{what}/{row.version_number}-{row.operation_count}",
        delta=(step(row.version_number, row.operation_count, now_us),),
        cause=CAUSE,
    )


class ExpiryJob:
    """Goes through the rows again and again, at a pace that the database and the topic hardly notice."""

    name = "expiry"

    def __init__(self, settings: JobsSettings, clock: Callable[[], int] = clock_us) -> None:
        self._settings = settings
        self._clock = clock
        self._after = ""
        """The last cart of the round so far: a round that failed continues after it."""
        self._unreadable = UnreadableRows(self.name, "expiry.row_unreadable")

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Trim, expire and purge until cancelled. Raises psycopg.Error, KafkaError, TimeoutError."""
        async with Publisher(self._settings) as publisher, Trimming(self._settings) as trimming:
            while True:
                await self.round(connection, publisher, trimming)
                metrics.succeeded(self.name)
                await asyncio.sleep(self._settings.ageing_pause_s)

    def commands(self, rows: Sequence[RowAge], now_us: int) -> list[Change]:
        """The changes that are due for rows. One that cannot be read is passed over: others are due, too."""
        found = []
        for row in rows:
            try:
                change = command(row, now_us, self._settings.lifetime)
            except msgspec.MsgspecError as error:
                self._unreadable.met(row.cart_id, str(error), cart_id=row.cart_id)
                continue
            if change is not None:
                found.append(change)
        return found

    async def round(
        self, connection: psycopg.AsyncConnection[Any], publisher: Publisher, trimming: Trimming
    ) -> None:
        """Go through all rows once."""
        began = reported = time.monotonic()
        done: Counter[str] = Counter()
        about, servers_us = await carts.facts(connection)
        # A single clock that is fast must not expire anything: take the slower one.
        now_us = min(self._clock(), servers_us)
        while True:
            page_began = time.monotonic()
            rows = await carts.ages_after(connection, self._after, PAGE)
            if not rows:
                break
            commands = self.commands(rows, now_us)
            commands += await trimming.commands(rows, now_us)
            await publisher.publish_changes(commands, self._settings.partitions, source=SOURCE)
            self._after = rows[-1].cart_id
            done["rows"] += len(rows)
            metrics.EXPIRY_ROWS.inc(len(rows))
            for change in commands:
                kind = type(change.delta[0]).__name__.lower()
                done[kind] += 1
                metrics.EXPIRY_COMMANDS.labels(kind).inc()
            metrics.EXPIRY_PROGRESS.set(min(1.0, done["rows"] / about) if about else 1.0)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                log.info("expiry.progress", about=about, **done)
            await asyncio.sleep(
                max(
                    len(rows) / self._settings.ageing_rows_per_s,
                    len(commands) / self._settings.ageing_commands_per_s,
                )
                - (time.monotonic() - page_began)
            )
        self._after = ""
        self._unreadable.end_round()
        log.info("expiry.round", seconds=round(time.monotonic() - began, 3), **done)
