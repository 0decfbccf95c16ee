"""The mail about a cart left behind: what it says, and that nobody gets it who should not."""

import email
import email.policy
from datetime import UTC, datetime
from email.headerregistry import Address
from uuid import uuid4

import psycopg

from runtime.recovery import IdlePeriod, hash_of
from sinks.mail.abandonment import compose_reminder
from store.postgres import abandonments
from store.postgres.abandonments import AbandonmentMail
from tests.mail.smtp_server import SmtpServer
from tests.sinks.cart_records import new_cart_id
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.records import AbandonmentKind, AbandonmentRecord, LineLeft

NOW = datetime(2026, 11, 24, 9, 5, tzinfo=UTC)
UNSUBSCRIBE = "https://carts.example.com/v1/unsubscribe/u1." + "a" * 43 + ".0." + "b" * 43


def mail_to(address: str, cart_id: str = "user:42") -> AbandonmentMail:
    """A mail about a cart of two lines."""
    return AbandonmentMail(
        period=IdlePeriod(cart_id, 100),
        email=address,
        at=NOW,
        currency="EUR",
        subtotal=4848,
        lines=[LineLeft("mug", "mug", 2, 1999), LineLeft("a<b", "a<b", 1, 850)],
        recovery_url="https://shop.example.com/recover?a=1&token=r1.x",
        unsubscribe_url=UNSUBSCRIBE,
    )


def test_the_mail_says_what_was_left_and_how_to_get_back() -> None:
    message = compose_reminder(mail_to("ada@example.org"), "Cup & Co", Address("", "shop", "example.com"))
    text, html = (part.get_content() for part in message.iter_parts())
    assert "2 x mug\n    39.98 EUR" in text
    assert "https://shop.example.com/recover?a=1&token=r1.x" in text
    assert "a&lt;b" in html
    assert "recover?a=1&amp;token=r1.x" in html
    assert message["Subject"] == "You left something at Cup & Co"


def test_the_link_to_unsubscribe_is_a_header_of_one_line() -> None:
    message = compose_reminder(mail_to("ada@example.org"), "Cup", Address("", "shop", "example.com"))
    lines = message.as_bytes().split(b"\r\n")
    assert f"List-Unsubscribe: <{UNSUBSCRIBE}>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    assert email.message_from_bytes(message.as_bytes(), policy=email.policy.SMTP)["To"] == "ada@example.org"


def test_the_same_cart_makes_the_same_mail() -> None:
    made = [
        compose_reminder(mail_to("ada@example.org"), "Cup", Address("", "shop", "example.com")).as_bytes()
        for _ in range(2)
    ]
    assert made[0] == made[1]


async def tell(connection: psycopg.AsyncConnection, address: str) -> AbandonmentMail:
    """What the job does for a cart left behind."""
    mail = mail_to(address, new_cart_id())
    record = AbandonmentRecord(
        type=AbandonmentKind.ABANDONED,
        cart_id=mail.period.cart_id,
        version_number=mail.period.version,
        idle_since=NOW,
        at=NOW,
        currency="EUR",
        subtotal=4848,
    )
    async with connection.transaction():
        assert await abandonments.tell(connection, record, mail, mails_per_day=100)
    return mail


async def outcome(connection: psycopg.AsyncConnection, mail: AbandonmentMail) -> str | None:
    """What became of the mail."""
    cursor = await connection.execute(
        "SELECT outcome FROM post_checkout_tasks WHERE order_id = %s",
        (abandonments.mail_task_id(mail.period),),
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def test_it_is_sent_once_and_not_to_who_has_gone_on_or_unsubscribed(
    agent: AgentProcess, smtp: SmtpServer, database: str
) -> None:
    # The agent also confirms the orders of other tests, to whom they like.
    ada, bob, cyd = (f"{name}-{uuid4().hex}@example.org" for name in ("ada", "bob", "cyd"))
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        wanted = await tell(connection, ada)
        taken_up = await tell(connection, bob)
        unsubscribed = await tell(connection, cyd)
        bad = await tell(connection, "no address")
        await connection.execute(
            "UPDATE abandoned_carts SET recovered_at = now() WHERE cart_id = %s", (taken_up.period.cart_id,)
        )
        await abandonments.suppress(connection, hash_of(cyd))
        await agent.start()

        async def outcomes() -> list[str] | None:
            found = [await outcome(connection, mail) for mail in (wanted, taken_up, unsubscribed, bad)]
            return [each for each in found if each] if all(found) else None

        assert await until(outcomes, "all mails settled") == ["sent", "not_wanted", "not_wanted", "refused"]
    (mail,) = smtp.to(ada)
    assert not smtp.to(bob)
    assert not smtp.to(cyd)
    assert mail["List-Unsubscribe"] == f"<{UNSUBSCRIBE}>"
