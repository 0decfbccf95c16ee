"""What a mail says, and that it says the same each time."""

from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from msgspec.structs import replace

from carts.view import Adjustment, Totals
from sinks.mail.message import BadAddress, MailKind, amount, compose, kind_of, message_id, recipient
from tests.mail.orders import PLACED, cancelled

SENDER = Address("Cup & Co", "orders", "shop.example")


def mail(order: object = PLACED, kind: MailKind = MailKind.CONFIRMATION) -> EmailMessage:
    return compose(order, kind, "Cup & Co", SENDER)  # type: ignore[arg-type]


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_confirmation_lists_what_was_ordered_and_what_it_costs() -> None:
    text = part(mail(), "plain")
    assert "2 x Shirt <b>Zoë</b> (size: M)\n    39.98 EUR" in text
    assert "1 x mug\n    8.50 EUR" in text
    assert "Total: 44.48 EUR" in text
    assert "24 November 2026, 09:05 UTC" in text


def test_what_people_wrote_is_no_markup_in_the_html() -> None:
    html = part(mail(), "html")
    assert "Shirt &lt;b&gt;Zoë&lt;/b&gt;" in html
    assert "<b>Zoë" not in html
    assert "Cup &amp; Co" in html


def test_what_people_wrote_is_one_line_in_the_text() -> None:
    line = replace(PLACED.lines[0], name="Cup", options={"engraving": "A\n\nDear\u2028customer,\r\nB"})
    assert "x Cup (engraving: A Dear customer, B)\n    39.98 EUR" in part(
        mail(replace(PLACED, lines=[line])), "plain"
    )


def test_adjustments_stand_between_subtotal_and_total() -> None:
    text = part(mail(replace(PLACED, adjustments=[Adjustment("SPRING", -400)])), "plain")
    assert "Subtotal: 48.48 EUR\nSPRING: -4.00 EUR\nTotal: 44.48 EUR" in text


@pytest.mark.parametrize(
    ("totals", "adjustments", "column"),
    [
        (
            Totals(9000, 0, 1710, 10710),
            [Adjustment("tax-vat", 1710)],
            "Subtotal: 90.00 EUR\ntax-vat: 17.10 EUR\nTotal: 107.10 EUR",
        ),
        (
            Totals(1000, 2500, 0, 0),
            [Adjustment("GIFT", -2500)],
            "Subtotal: 10.00 EUR\nGIFT: -25.00 EUR\nDiscount not used: 15.00 EUR\nTotal: 0.00 EUR",
        ),
        (
            Totals(1000, 100, 171, 1071),
            [],
            "Subtotal: 10.00 EUR\nDiscount: -1.00 EUR\nTax: 1.71 EUR\nTotal: 10.71 EUR",
        ),
        (
            Totals(1000, 100, 0, 1000),
            [Adjustment("SAVE", -100), Adjustment("wrapping", 100)],
            "Subtotal: 10.00 EUR\nSAVE: -1.00 EUR\nwrapping: 1.00 EUR\nTotal: 10.00 EUR",
        ),
        (Totals(1000, 0, 0, 1000), [], "Total: 10.00 EUR"),
    ],
)
def test_the_column_adds_up_to_the_total_with_the_tax_once(
    totals: Totals, adjustments: list[Adjustment], column: str
) -> None:
    text = part(mail(replace(PLACED, totals=totals, adjustments=adjustments)), "plain")
    assert f"\n\n{column}\n\n" in text.replace("\r\n", "\n")


def test_the_same_order_makes_the_same_mail_byte_for_byte() -> None:
    assert mail().as_bytes() == mail().as_bytes()


def test_the_message_id_follows_from_the_order_alone() -> None:
    assert mail()["Message-ID"] == "<order-1.confirmation@shop.example>"
    assert (
        mail(cancelled(PLACED), MailKind.CANCELLATION)["Message-ID"] == "<order-1.cancellation@shop.example>"
    )


def test_a_strange_order_id_makes_a_message_id_all_the_same() -> None:
    strange = message_id("a b>\r\nBcc: x", MailKind.CONFIRMATION, "shop.example")
    assert strange == message_id("a b>\r\nBcc: x", MailKind.CONFIRMATION, "shop.example")
    assert strange.isprintable()
    assert " " not in strange


def test_an_order_without_an_address_asks_for_no_mail() -> None:
    assert kind_of(replace(PLACED, email=None)) is None
    assert kind_of(replace(PLACED, email="")) is None
    assert kind_of(PLACED) is MailKind.CONFIRMATION
    assert kind_of(cancelled(PLACED)) is MailKind.CANCELLATION


@pytest.mark.parametrize(
    "text",
    [
        *("ada", "@example.org", "ada@", "a b@example.org", "a@b@c d", "ada@" + "x" * 70),
        *("ada@b,c", "ada@b>", "ada@b(c)", "ada@x\n", "ada@x\r\nBcc: b@x"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        recipient(replace(PLACED, email=text))


def test_a_domain_in_another_script_goes_out_in_ascii() -> None:
    assert recipient(replace(PLACED, email="ada@bücher.example")).addr_spec == "ada@xn--bcher-kva.example"


def test_headers_and_bodies_survive_servers_that_know_ascii_only() -> None:
    message = compose(
        PLACED, MailKind.CONFIRMATION, "Käfer & Söhne", Address("Käfer", "orders", "shop.example")
    )
    assert message.as_bytes().isascii()
    assert message["From"] == "Käfer <orders@shop.example>"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123450, "EUR", "1,234.50 EUR"),
        (5, "USD", "0.05 USD"),
        (-400, "EUR", "-4.00 EUR"),
        (1500, "JPY", "1,500 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (391234, "CLF", "39.1234 CLF"),
        (12345, "UYW", "1.2345 UYW"),
    ],
)
def test_amounts_have_the_digits_of_their_currency(minor: int, currency: str, text: str) -> None:
    assert amount(minor, currency) == text
