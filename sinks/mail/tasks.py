"""The mails to send, kept in Postgres: recorded once each, claimed by one sender at a time, settled."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sinks.mail.message import MailKind
from store.postgres.abandonments import decode_mail, is_mail_wanted
from store.postgres.connection import RenewedConnection
from store.postgres.queries import queries_of
from store.postgres.session import Address

STATEMENT_SECONDS: Final = 15
LONGEST_RETRY_SECONDS: Final = 3600.0

query: Final = queries_of("mail_tasks")

_KINDS: Final = [kind.value for kind in MailKind]


class NewMail(msgspec.Struct, frozen=True):
    """A mail that a record of `orders` asks for."""

    order_id: str
    task: MailKind
    record: str
    """The record's value: JSON."""
    source_partition: int
    source_offset: int


class ClaimedMail(msgspec.Struct, frozen=True):
    """A mail to send now; the next attempt is scheduled already, in case this one does not settle it."""

    order_id: str
    kind: MailKind
    record: bytes
    source_partition: int
    source_offset: int
    attempts: int
    """This one included."""
    age_s: float


class Backlog(msgspec.Struct, frozen=True):
    """Mails not settled, and the age of the oldest in seconds."""

    mails: int
    oldest_s: float


class MailTasks:
    """The table `post_checkout_tasks`, over one connection that is renewed when it fails.

    Every method raises SchemaOutdated, psycopg.Error or TimeoutError; what it was to do may have been done.
    """

    def __init__(self, address: Address, retry_s: float) -> None:
        self._retry_s = retry_s
        self._lock = asyncio.Lock()
        self._connection = RenewedConnection(address, name="cartstream-mail", timeout_s=STATEMENT_SECONDS)

    async def record(self, mails: Sequence[NewMail]) -> int:
        """Record mails to send, all or nothing; returns how many were not known."""
        # A record may be in a batch twice; one statement may not touch a row twice.
        newest = {(mail.order_id, mail.task): mail for mail in mails}
        if not newest:
            return 0
        columns = {
            name: [getattr(mail, name) for mail in newest.values()] for name in NewMail.__struct_fields__
        }
        return (await self._execute("record_tasks", columns))[0]

    async def is_any_due(self) -> bool:
        """Whether a mail is due, counting a cancellation that waits for its confirmation."""
        _, row = await self._execute("is_any_due", {"tasks": _KINDS})
        return bool(row and row[0])

    async def claim(self) -> ClaimedMail | None:
        """The mail that has been due for longest and that no other sender has; None if there is none."""
        values = {"tasks": _KINDS, "retry_s": self._retry_s, "longest_s": LONGEST_RETRY_SECONDS}
        _, row = await self._execute("claim_task", values)
        if row is None:
            return None
        order_id, kind, record, partition, offset, attempts, age_s = row
        return ClaimedMail(order_id, MailKind(kind), record.encode(), partition, offset, attempts, age_s)

    async def is_wanted(self, mail: ClaimedMail) -> bool:
        """Whether the mail is still to be sent: one about a cart left behind only while the cart is left."""
        if mail.kind is not MailKind.ABANDONMENT:
            return True
        async with self._lock, self._connection.use() as connection:
            return await is_mail_wanted(connection, decode_mail(mail.record))

    async def count_order_mail(self, address_hash: bytes, mails_per_day: int) -> bool:
        """Count a mail about an order to the address; False if it has had as many today (UTC) as it may."""
        values = {"address_hash": address_hash, "mails_per_day": mails_per_day}
        return (await self._execute("count_order_mail", values))[1] is not None

    async def forget_days(self) -> None:
        """Forget how many mails an address got on days that are over."""
        await self._execute("forget_order_mail_days", {})

    async def settle(self, mail: ClaimedMail, outcome: str, detail: str) -> None:
        """Mark the mail as finished, with its outcome."""
        await self._execute(
            "settle_task",
            {"order_id": mail.order_id, "task": mail.kind, "outcome": outcome, "detail": detail},
        )

    async def note_failure(self, mail: ClaimedMail, detail: str) -> None:
        """Note why this attempt failed."""
        await self._execute("note_failure", {"order_id": mail.order_id, "task": mail.kind, "detail": detail})

    async def measure(self) -> Backlog:
        """How much waits, and for how long."""
        _, row = await self._execute("measure_tasks", {"tasks": _KINDS})
        return Backlog(*row) if row else Backlog(0, 0.0)

    async def close(self) -> None:
        """Close the connection, even in the middle of a statement."""
        await self._connection.close()

    async def _execute(self, name: str, values: Mapping[str, object]) -> tuple[int, tuple[Any, ...] | None]:
        """Rows touched, and the first one returned."""
        async with self._lock, self._connection.use() as connection:
            cursor = await connection.execute(query(name), values)
            return cursor.rowcount, await cursor.fetchone() if cursor.description else None
