"""What the mail about a cart left behind says. Pure: the same cart makes the same mail, byte for byte."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Final

from sinks.mail.message import MailKind, address_of, amount, body, message_id
from store.postgres.abandonments import AbandonmentMail, mail_task_id

_SUBJECT: Final = "You left something at {shop}"
_LONGEST_LINE: Final = 998
"""RFC 5322, 2.1.1. A link in a header is one word, which must not be folded."""


def compose_reminder(mail: AbandonmentMail, shop: str, sender: Address) -> EmailMessage:
    """The mail, in text and in HTML, with one click to unsubscribe (RFC 8058). Raises BadAddress."""
    task_id = mail_task_id(mail.period)
    headers: dict[str, str | Address] = {
        "Message-ID": message_id(task_id, MailKind.ABANDONMENT, sender.domain),
        "Date": format_datetime(mail.at),
        "From": sender,
        "To": address_of(mail.email),
        "Subject": _SUBJECT.format(shop=shop),
        "List-Unsubscribe": f"<{mail.unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    currency = mail.currency or ""
    rows = [
        (f"{line.quantity}", line.product_id, amount(line.quantity * line.unit_price, currency))
        for line in mail.lines
    ]
    values = {
        "shop": shop,
        "total": amount(mail.subtotal, currency),
        "recovery_url": mail.recovery_url,
        "unsubscribe_url": mail.unsubscribe_url,
    }
    text = {**values, "lines": "\n".join(f"{many} x {what}\n    {price}" for many, what, price in rows)}
    html = {name: escape(value) for name, value in values.items()}
    html["lines"] = "\n".join(
        f"<li>{many} &times; {escape(what)}, {escape(price)}</li>" for many, what, price in rows
    )
    message = body(MailKind.ABANDONMENT, task_id, headers, text, html)
    message.policy = message.policy.clone(max_line_length=_LONGEST_LINE)
    return message
