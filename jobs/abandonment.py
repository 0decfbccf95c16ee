"""The job that tells of carts left behind, once for each idle period, and of those taken up again.

It finds them among the sink's rows. The row of `abandoned_carts`, the record for Kafka and the mail are one
transaction: whatever dies or runs twice, each idle period is told of once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog

from carts.content import subtotal
from carts.view import time_of
from jobs import metrics
from jobs.settings import JobsSettings
from runtime.clock import clock_us
from runtime.recovery import IdlePeriod, SignedLinks
from store.postgres import abandonments, carts
from store.postgres.abandonments import AbandonmentMail, LeftBehind
from topics.records import AbandonmentKind, AbandonmentRecord

log = structlog.get_logger(__name__)

PAGE: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def address_of(cart: LeftBehind) -> str | None:
    """The mail address that a cart knows: of its details, else `email` in its metadata."""
    content = cart.state.content()
    found = content.details.email or content.metadata.get("email")
    return found if isinstance(found, str) and "@" in found else None


def told(cart: LeftBehind, at: datetime, links: SignedLinks, lifetime_s: float) -> AbandonmentRecord:
    """The record that tells of a cart left behind."""
    expires_at = at + timedelta(seconds=lifetime_s)
    period = IdlePeriod(cart.cart_id, cart.version_number)
    content = cart.state.content()
    return AbandonmentRecord(
        type=AbandonmentKind.ABANDONED,
        cart_id=cart.cart_id,
        version_number=cart.version_number,
        idle_since=time_of(cart.version_number) or _EPOCH,
        at=at,
        currency=content.currency,
        subtotal=subtotal(content),
        lines=cart.lines,
        recovery_token=links.recovery(period, int(expires_at.timestamp())),
        recovery_expires_at=expires_at,
    )


class AbandonmentJob:
    """Goes through the rows of carts again and again."""

    name = "abandonment"

    def __init__(
        self, settings: JobsSettings, links: SignedLinks, clock: Callable[[], int] = clock_us
    ) -> None:
        self._settings = settings
        self._links = links
        self._clock = clock

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Tell until cancelled. Raises psycopg.Error."""
        while True:
            await self.round(connection)
            metrics.succeeded(self.name)
            await asyncio.sleep(self._settings.abandonment_pause_s)

    async def round(self, connection: psycopg.AsyncConnection[Any]) -> Counter[AbandonmentKind]:
        """Look at every cart once; how many were told of. Raises psycopg.Error."""
        facts = await carts.facts(connection)
        # A single clock that is fast must not call anything left behind: take the slower one.
        now_us = min(self._clock(), facts.clock_us)
        at = _EPOCH + timedelta(microseconds=now_us)
        done = Counter(
            {
                # First: a cart that was taken up and left again is told of in this order.
                AbandonmentKind.RECOVERED: await self._tell_recovered(connection, at),
                AbandonmentKind.ABANDONED: await self._tell_abandoned(connection, at, now_us),
            }
        )
        for kind, count in done.items():
            metrics.ABANDONMENTS.labels(kind.value).inc(count)
        await abandonments.forget_days(connection)
        if done.total():
            log.info("abandonment.told", **{kind.value: count for kind, count in done.items()})
        return done

    async def _tell_abandoned(
        self, connection: psycopg.AsyncConnection[Any], at: datetime, now_us: int
    ) -> int:
        newest = 2 * (now_us - int(self._settings.abandoned_after_s * 1_000_000))
        after, count = "", 0
        began = time.monotonic()
        while page := await carts.ids_after(connection, after, PAGE):
            for cart in await abandonments.left_behind(connection, after, page[-1], newest):
                record = told(cart, at, self._links, self._settings.recovery_lifetime_s)
                async with connection.transaction():
                    count += await abandonments.tell(
                        connection,
                        record,
                        self._mail(cart, record),
                        mails_per_day=self._settings.abandonment_mails_per_day,
                    )
            after = page[-1]
            # At a pace that the database hardly notices, as expiry.
            await asyncio.sleep(len(page) / self._settings.ageing_rows_per_s - (time.monotonic() - began))
            began = time.monotonic()
        return count

    async def _tell_recovered(self, connection: psycopg.AsyncConnection[Any], at: datetime) -> int:
        count = 0
        watched_from = at - timedelta(seconds=self._settings.recovery_lifetime_s)
        while page := await abandonments.taken_up(connection, watched_from, PAGE):
            for found in page:
                async with connection.transaction():
                    count += await abandonments.tell_recovery(connection, found, at)
        return count

    def _mail(self, cart: LeftBehind, record: AbandonmentRecord) -> AbandonmentMail | None:
        address = address_of(cart)
        if not self._settings.abandonment_mails or address is None or record.recovery_token is None:
            return None
        return AbandonmentMail(
            period=IdlePeriod(cart.cart_id, cart.version_number),
            email=address,
            at=record.at,
            currency=record.currency,
            subtotal=record.subtotal,
            lines=record.lines,
            recovery_url=self._settings.recovery_url.replace("{token}", record.recovery_token),
            unsubscribe_url=self._settings.unsubscribe_url.replace(
                "{token}", self._links.unsubscribe(address)
            ),
        )
