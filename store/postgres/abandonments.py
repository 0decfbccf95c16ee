"""Carts left behind: which there are, which were told of, and who wants no mails about them.

Each function works over the caller's connection, in its transaction if there is one, and raises psycopg.Error
when Postgres fails.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import psycopg

from carts.state import State
from runtime.recovery import IdlePeriod, hash_of
from store.postgres import outbox
from store.postgres.outbox import OutboxRecord
from store.postgres.queries import queries_of
from topics.headers import abandonment_headers
from topics.records import AbandonmentKind, AbandonmentRecord, LineLeft
from topics.registry import CART_ABANDONED

Connection = psycopg.AsyncConnection[Any]

_query: Final = queries_of("abandonments")
_encoder: Final = msgspec.json.Encoder()
_state: Final = msgspec.json.Decoder(State)
_lines: Final = msgspec.json.Decoder(list[LineLeft])


class AbandonmentMail(msgspec.Struct, frozen=True, kw_only=True):
    """What the mail about a cart left behind says, and to whom."""

    period: IdlePeriod
    email: str
    at: datetime
    currency: str | None
    subtotal: int
    lines: list[LineLeft]
    recovery_url: str
    unsubscribe_url: str


class LeftBehind(NamedTuple):
    """A cart that has idled, and was not told of yet."""

    cart_id: str
    version_number: int
    lines: list[LineLeft]
    state: State


class TakenUp(NamedTuple):
    """A cart that was told of and has changed since, or was ordered (then `order_id` says by which order)."""

    cart_id: str
    version_number: int
    currency: str | None
    subtotal: int
    lines: int
    idle_since: datetime
    order_id: str | None


def decode_mail(record: bytes) -> AbandonmentMail:
    """The mail that a task has. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(record, type=AbandonmentMail)


async def left_behind(connection: Connection, after: str, last: str, newest_version: int) -> list[LeftBehind]:
    """Carts with lines, ids after `after` up to `last`, that have not changed since `newest_version`."""
    cursor = await connection.execute(
        _query("left_behind"), {"after": after, "last": last, "newest_v": newest_version}
    )
    return [
        LeftBehind(cart_id, v, _lines.decode(lines), _state.decode(state))
        for cart_id, v, lines, state in await cursor.fetchall()
    ]


async def tell(
    connection: Connection, record: AbandonmentRecord, mail: AbandonmentMail | None, *, mails_per_day: int
) -> bool:
    """Tell of a cart left behind, unless that idle period was told of; whether it is new.

    An address gets no more mails in a day (UTC) than that.
    """
    if not await _did(
        connection,
        "insert_abandonment",
        cart_id=record.cart_id,
        v=record.version_number,
        idle_since=record.idle_since,
        abandoned_at=record.at,
        currency=record.currency,
        subtotal=record.subtotal,
        lines=len(record.lines),
    ):
        return False
    await _publish(connection, record)
    if mail is not None:
        await _did(
            connection,
            "insert_mail",
            task_id=mail_task_id(mail.period),
            record=_encoder.encode(mail).decode(),
            address_hash=hash_of(mail.email),
            mails_per_day=mails_per_day,
        )
    return True


async def forget_days(connection: Connection) -> None:
    """Forget how many mails an address got on days that are over."""
    await connection.execute(_query("forget_days"))


async def taken_up(connection: Connection, watched_from: datetime, limit: int) -> list[TakenUp]:
    """Carts told of since `watched_from` that have changed or were ordered since."""
    cursor = await connection.execute(
        _query("taken_up_again"), {"watched_from": watched_from, "limit": limit}
    )
    return [TakenUp._make(row) for row in await cursor.fetchall()]


async def tell_recovery(connection: Connection, found: TakenUp, at: datetime) -> bool:
    """Tell that a cart was taken up again, once; whether it is new."""
    recovered_by = "changed" if found.order_id is None else "ordered"
    if not await _did(
        connection,
        "note_recovery",
        cart_id=found.cart_id,
        v=found.version_number,
        recovered_at=at,
        recovered_by=recovered_by,
        order_id=found.order_id,
    ):
        return False
    record = AbandonmentRecord(
        type=AbandonmentKind.RECOVERED,
        cart_id=found.cart_id,
        version_number=found.version_number,
        idle_since=found.idle_since,
        at=at,
        currency=found.currency,
        subtotal=found.subtotal,
        recovered_by=recovered_by,
        order_id=found.order_id,
    )
    await _publish(connection, record)
    return True


async def can_be_recovered(connection: Connection, period: IdlePeriod) -> bool:
    """Whether that idle period was told of and its cart was not erased since."""
    return await _is(connection, "can_be_recovered", cart_id=period.cart_id, v=period.version)


async def suppress(connection: Connection, address_hash: bytes) -> None:
    """Send no more mails about carts to an address."""
    await connection.execute(_query("suppress"), {"address_hash": address_hash})


async def is_mail_wanted(connection: Connection, mail: AbandonmentMail) -> bool:
    """Whether the cart is still left behind, and its shopper still wants to hear of it."""
    return await _is(
        connection,
        "is_mail_wanted",
        cart_id=mail.period.cart_id,
        v=mail.period.version,
        address_hash=hash_of(mail.email),
    )


async def erase(connection: Connection, cart_id: str) -> int:
    """Make all links to a cart useless, and erase the mails that have them; how many mails."""
    return (await connection.execute(_query("erase_abandonments"), {"cart_id": cart_id})).rowcount


def mail_task_id(period: IdlePeriod) -> str:
    """What the mail of an idle period is called among the mails to send."""
    return f"abandoned:{period.cart_id}/{period.version}"


async def _publish(connection: Connection, record: AbandonmentRecord) -> None:
    value, headers = _encoder.encode(record), abandonment_headers(record)
    await outbox.write(connection, [OutboxRecord(CART_ABANDONED.name, record.cart_id, value, headers)])


async def _did(connection: Connection, name: str, **values: object) -> bool:
    """Whether a statement has touched a row."""
    return bool((await connection.execute(_query(name), values)).rowcount)


async def _is(connection: Connection, name: str, **values: object) -> bool:
    row = await (await connection.execute(_query(name), values)).fetchone()
    return bool(row and row[0])
