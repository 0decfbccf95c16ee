"""Sends the mails that are due: claim one, send it, settle it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from functools import partial
from typing import Final

import psycopg
import stamina
import structlog

from runtime.cancellation import to_its_end
from runtime.recovery import hash_of
from sinks.mail import metrics
from sinks.mail.abandonment import compose_reminder
from sinks.mail.message import BadAddress, MailKind, address_of, compose, recipient
from sinks.mail.settings import MailSinkSettings
from sinks.mail.smtp import MailPutOff, MailRefused, MailServerAway, SmtpClient
from sinks.mail.tasks import ClaimedMail, MailTasks
from store.postgres.abandonments import decode_mail
from store.postgres.errors import SchemaOutdated
from topics.codec import decode_order
from topics.dead_letters import SourceRecord
from topics.registry import ORDERS

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 2.0
"""Pause between looks for due mails: retries come due, and other processes die and leave mails behind."""
MEASURE_SECONDS: Final = 10.0
LONGEST_BACKOFF_SECONDS: Final = 15.0
STOP_SECONDS: Final = 10.0
"""For a mail in flight when the process stops: if it were cut off it would be sent twice."""
_HOUR_SECONDS: Final = 3600.0
_MAY_PASS: Final = (psycopg.Error, SchemaOutdated, TimeoutError, MailServerAway)

Refuse = Callable[[SourceRecord, str, str], Awaitable[None]]
"""Keeps a record as a dead letter, with a code and a sentence."""


class MailDispatcher:
    """Sends the mails of the tasks, several at once; `refuse` makes dead letters of refused ones."""

    def __init__(self, settings: MailSinkSettings, tasks: MailTasks, refuse: Refuse) -> None:
        self._settings = settings
        self._tasks = tasks
        self._refuse = refuse
        self._wake = asyncio.Event()
        self._taken: set[tuple[str, MailKind]] = set()
        """Accepted by the server and not settled in the table yet: must not be sent again."""

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled. Temporary failures are retried, without giving a mail up."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.mail_connections):
                group.create_task(self._retrying(partial(self._send_all_due, SmtpClient(self._settings))))
            group.create_task(self._retrying(self._measure))

    async def _retrying(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=_counted, attempts=None, timeout=None, wait_max=LONGEST_BACKOFF_SECONDS
            ):
                with attempt:
                    await step()

    async def _measure(self) -> None:
        backlog = await self._tasks.measure()
        metrics.WAITING.set(backlog.mails)
        metrics.OLDEST_WAITING.set(backlog.oldest_s)
        await self._tasks.forget_days()
        await asyncio.sleep(MEASURE_SECONDS)

    async def _send_all_due(self, client: SmtpClient) -> None:
        try:
            # Connect before claiming: while the server is away no mail uses up its attempts.
            while await self._tasks.is_any_due():
                await client.connect()
                mail = await self._tasks.claim()
                if mail is None:
                    break
                await to_its_end(self._attempt(client, mail), STOP_SECONDS)
        finally:
            await client.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    async def _attempt(self, client: SmtpClient, mail: ClaimedMail) -> None:
        key = mail.order_id, mail.kind
        if key not in self._taken:
            if not await self._tasks.is_wanted(mail):
                await self._tasks.settle(mail, "not_wanted", "")
                metrics.MAILS.labels(mail.kind, "not_wanted").inc()
                return
            try:
                message, address = self._compose(mail)
                if not await self._may_have(mail, address):
                    most = self._settings.order_mails_per_day
                    await self._give_up(
                        mail, "too_many_mails", f"its address has had {most} mails about orders today"
                    )
                    return
                await client.send(message, address)
            except (BadAddress, MailRefused) as error:
                await self._give_up(mail, "mail_refused", str(error))
                return
            except MailPutOff as error:
                await self._put_off(mail, str(error))
                return
            self._taken.add(key)
        # The server has accepted it. If the process is killed before the row is settled, it is sent twice.
        async for attempt in stamina.retry_context(on=_MAY_PASS, attempts=None, timeout=None, wait_max=1.0):
            with attempt:
                await self._tasks.settle(mail, "sent", "")
        self._taken.discard(key)
        metrics.MAILS.labels(mail.kind, "sent").inc()
        log.info("mail.sent", order=mail.order_id, kind=mail.kind, attempts=mail.attempts)

    async def _may_have(self, mail: ClaimedMail, address: Address) -> bool:
        # Reminders have a limit of their own, kept where they are recorded. A retry was counted before.
        if mail.kind is MailKind.ABANDONMENT or mail.attempts > 1:
            return True
        return await self._tasks.count_order_mail(
            hash_of(address.addr_spec), self._settings.order_mails_per_day
        )

    def _compose(self, mail: ClaimedMail) -> tuple[EmailMessage, Address]:
        """The mail, and to whom it goes. Raises BadAddress."""
        shop, sender = self._settings.shop_name, self._settings.sender
        if mail.kind is MailKind.ABANDONMENT:
            cart = decode_mail(mail.record)
            return compose_reminder(cart, shop, sender), address_of(cart.email)
        order = decode_order(mail.record)
        return compose(order, mail.kind, shop, sender), recipient(order)

    async def _put_off(self, mail: ClaimedMail, reason: str) -> None:
        if mail.age_s > self._settings.mail_give_up_hours * _HOUR_SECONDS:
            await self._give_up(mail, "mail_undeliverable", reason)
            return
        await self._tasks.note_failure(mail, reason)
        metrics.MAILS.labels(mail.kind, "put_off").inc()
        log.info("mail.put_off", order=mail.order_id, kind=mail.kind, attempts=mail.attempts, reason=reason)

    async def _give_up(self, mail: ClaimedMail, code: str, reason: str) -> None:
        # A reminder comes from no record that could be replayed.
        if mail.kind is not MailKind.ABANDONMENT:
            source = SourceRecord(
                ORDERS.name, mail.source_partition, mail.source_offset, mail.order_id.encode(), mail.record
            )
            await self._refuse(source, code, f"{mail.kind}: {reason}")
        await self._tasks.settle(mail, "refused", reason)
        metrics.MAILS.labels(mail.kind, "refused").inc()


def _counted(error: Exception) -> bool:
    if not isinstance(error, _MAY_PASS):
        return False
    metrics.FAILURES.labels(type(error).__name__).inc()
    return True
