"""What a mail about an order says. Pure: the same order always makes the same mail, byte for byte."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from carts.mail_addresses import InvalidMailAddress, mail_address
from topics.records import OrderLine, OrderRecord, OrderStatus

_DOT_ATOM: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NO_MINOR_UNITS: Final = re.compile(
    "BIF|CLP|DJF|GNF|ISK|JPY|KMF|KRW|PYG|RWF|UGX|UYI|VND|VUV|XAF|XOF|XPF",
)
_THOUSAND_MINOR_UNITS: Final = re.compile("BHD|IQD|JOD|KWD|LYD|OMR|TND")
_TEN_THOUSAND_MINOR_UNITS: Final = re.compile("CLF|UYW")
"""Of ISO 4217, the currencies that do not have a hundred minor units."""


class MailKind(StrEnum):
    """The mails there are, by the name of their task."""

    CONFIRMATION = "confirmation_mail"
    CANCELLATION = "cancellation_mail"
    ABANDONMENT = "abandonment_mail"


_OF_STATUS: Final = {
    OrderStatus.PLACED: MailKind.CONFIRMATION,
    OrderStatus.CANCELLED: MailKind.CANCELLATION,
}
_SUBJECTS: Final = {
    MailKind.CONFIRMATION: "Your order at {shop}",
    MailKind.CANCELLATION: "Your order at {shop} has been cancelled",
}


class BadAddress(ValueError):
    """The order's e-mail address is none: no server will ever take the mail."""


def kind_of(order: OrderRecord) -> MailKind | None:
    """The mail that the record asks for; None where the order has no address."""
    return _OF_STATUS[order.status] if order.email else None


def message_id(order_id: str, kind: MailKind, domain: str) -> str:
    """The mail's id (RFC 5322, 3.6.4): the same each time, so that mail systems can tell a repetition."""
    name = order_id if _DOT_ATOM.fullmatch(order_id) else hashlib.sha256(order_id.encode()).hexdigest()
    return f"<{name}.{kind.removesuffix('_mail')}@{domain}>"


def recipient(order: OrderRecord) -> Address:
    """The order's address. Raises BadAddress."""
    return address_of(order.email or "")


def address_of(text: str) -> Address:
    """The address, a domain in other scripts in its ASCII form. Raises BadAddress."""
    try:
        found = mail_address(text)
        return Address("", found.local, found.domain)
    except (InvalidMailAddress, ValueError) as error:
        raise BadAddress(str(error)) from error


def compose(order: OrderRecord, kind: MailKind, shop: str, sender: Address) -> EmailMessage:
    """The mail, in text and in HTML. Raises BadAddress."""
    happened = order.placed_at if kind is MailKind.CONFIRMATION else order.cancelled_at or order.placed_at
    headers: dict[str, str | Address] = {
        "Message-ID": message_id(order.order_id, kind, sender.domain),
        "Date": format_datetime(happened),
        "From": sender,
        "To": recipient(order),
        "Subject": _SUBJECTS[kind].format(shop=shop),
    }
    values = {
        "shop": shop,
        "order_id": order.order_id,
        "placed": _moment(order.placed_at),
        "cancelled": _moment(order.cancelled_at or order.placed_at),
    }
    text = {**values, "lines": _text_lines(order), "totals": _text_totals(order)}
    html = {name: escape(value) for name, value in values.items()}
    html |= {"lines": _html_lines(order), "totals": _html_totals(order)}
    return body(kind, order.order_id, headers, text, html)


def body(
    kind: MailKind,
    task_id: str,
    headers: Mapping[str, str | Address],
    text: Mapping[str, str],
    html: Mapping[str, str],
) -> EmailMessage:
    """A mail of a kind, made from its templates; `html` is escaped already."""
    message = EmailMessage(policy=SMTP)
    for name, value in headers.items():
        message[name] = value
    # RFC 3834: no vacation notices, please.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_template(kind, "txt").substitute(text), cte="quoted-printable")
    message.add_alternative(_template(kind, "html").substitute(html), subtype="html", cte="quoted-printable")
    boundary = hashlib.sha256(f"{kind}/{task_id}".encode()).hexdigest()
    message.set_boundary(f"=_{boundary[:32]}")
    return message


def amount(minor: int, currency: str) -> str:
    """Minor units as people write them: `1,234.50 EUR`."""
    digits = 2
    if _NO_MINOR_UNITS.fullmatch(currency):
        digits = 0
    elif _THOUSAND_MINOR_UNITS.fullmatch(currency):
        digits = 3
    elif _TEN_THOUSAND_MINOR_UNITS.fullmatch(currency):
        digits = 4
    whole, part = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole:,}{f'.{part:0{digits}}' if digits else ''} {currency}"


def _label(line: OrderLine) -> str:
    options = ", ".join(f"{name}: {value}" for name, value in line.options.items())
    label = f"{line.name or line.product_id}{f' ({options})' if options else ''}"
    # Shoppers write options of their own: with lines of their own they could write the whole mail.
    return " ".join(label.split())


def _totals(order: OrderRecord) -> list[tuple[str, str]]:
    """Labels and amounts below the lines: a column that adds up to its last row, the total."""
    totals = order.totals
    # The sums of a record without adjustments are not explained by any.
    parts = [(adjustment.code, adjustment.amount) for adjustment in order.adjustments] or [
        (label, minor) for label, minor in (("Discount", -totals.discount), ("Tax", totals.tax)) if minor
    ]
    rest = totals.total - totals.subtotal - sum(minor for _, minor in parts)
    if rest:
        # Nobody is paid for shopping: of a discount beyond the sum the rest lapses.
        parts.append(("Discount not used" if rest > 0 else "Other", rest))
    rows = [("Subtotal", totals.subtotal), *parts] if parts else []
    return [(label, amount(minor, order.currency)) for label, minor in [*rows, ("Total", totals.total)]]


def _text_lines(order: OrderRecord) -> str:
    return "\n".join(
        f"{line.quantity} x {_label(line)}\n    {amount(line.quantity * line.unit_price, order.currency)}"
        for line in order.lines
    )


def _text_totals(order: OrderRecord) -> str:
    return "\n".join(f"{label}: {value}" for label, value in _totals(order))


def _html_lines(order: OrderRecord) -> str:
    return "\n".join(
        _row(
            f"{line.quantity} &times; {escape(_label(line))}", line.quantity * line.unit_price, order.currency
        )
        for line in order.lines
    )


def _row(label: str, minor: int, currency: str) -> str:
    return _cells(label, escape(amount(minor, currency)), "border-bottom:1px solid #e4e4e0")


def _html_totals(order: OrderRecord) -> str:
    return "\n".join(
        _cells(escape(label), escape(value), "font-weight:600") for label, value in _totals(order)
    )


def _cells(label: str, value: str, style: str) -> str:
    return (
        f'<tr><td style="padding:8px 0;{style}">{label}</td>'
        f'<td style="padding:8px 0;text-align:right;white-space:nowrap;{style}">{value}</td></tr>'
    )


def _moment(time: datetime) -> str:
    return f"{time:%d %B %Y, %H:%M} {time.tzname() or 'UTC'}"


@cache
def _template(kind: MailKind, ending: str) -> Template:
    name = f"{kind.removesuffix('_mail')}.{ending}"
    return Template(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))
