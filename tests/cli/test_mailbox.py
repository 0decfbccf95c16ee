"""The mailbox of the embedded stack: it keeps every mail, shows it harmlessly, and survives a kill."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from devstack.embedded import EmbeddedStack
from devstack.mailbox.messages import Messages
from devstack.settings import MAILBOX
from tests.cli.conftest import Command

SCRIPT = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A stack of a mailbox alone."""
    with EmbeddedStack(tmp_path_factory.mktemp("mailbox"), only=(MAILBOX,)) as stack:
        yield stack


@pytest.fixture
def messages(stack: EmbeddedStack) -> Messages:
    """Its mails: none at first."""
    folder = stack.settings.mail_folder
    for file in folder.glob("*"):
        file.unlink()
    return Messages(folder)


def mail(subject: str = "Your order", message_id: str = "<1@shop.example>") -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = message_id
    message["From"] = "Cup & Co <orders@shop.example>"
    message["To"] = "ada@example.org"
    message["Subject"] = subject
    message.set_content("Grüße, und zwei Tassen")
    message.add_alternative(f"<p>Two cups {SCRIPT}</p>", subtype="html")
    return message


def send(stack: EmbeddedStack, message: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", stack.settings.mailbox_smtp_port, timeout=30) as server:
        server.send_message(message)


def get(stack: EmbeddedStack, path: str = "/", **headers: str) -> httpx.Response:
    return httpx.get(stack.urls.mailbox + path, headers=headers, timeout=30)


def test_a_mail_that_was_taken_is_listed_and_shown(stack: EmbeddedStack, messages: Messages) -> None:
    send(stack, mail())
    (summary,) = messages.list(10)
    assert (summary.recipient, summary.subject, summary.copies) == ("ada@example.org", "Your order", 1)
    assert f'href="/mails/{summary.id}">Your order</a>' in get(stack).text
    page = get(stack, f"/mails/{summary.id}").text
    assert "Grüße, und zwei Tassen" in page
    assert "&lt;1@shop.example&gt;" in page
    assert get(stack, f"/mails/{summary.id}.eml").content.startswith(b"Message-ID: <1@shop.example>")


def test_no_mail_runs_anything_in_the_page(stack: EmbeddedStack, messages: Messages) -> None:
    send(stack, mail(subject=SCRIPT))
    (summary,) = messages.list(10)
    for path in ("/", f"/mails/{summary.id}"):
        answer = get(stack, path)
        assert "<script" not in answer.text
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert '<iframe sandbox title="The mail" srcdoc="' in answer.text
    assert get(stack, f"/mails/{summary.id}.eml").headers["Content-Type"].startswith("text/plain")


def test_copies_of_a_mail_are_one_line_that_counts_them(stack: EmbeddedStack, messages: Messages) -> None:
    for _ in range(3):
        send(stack, mail())
    send(stack, mail("Another", "<2@shop.example>"))
    assert [(found.subject, found.copies) for found in messages.list(10)] == [
        ("Another", 1),
        ("Your order", 3),
    ]
    assert "(3 copies)" in get(stack).text


@pytest.mark.parametrize("header", ["To: <", 'From: "', "Message-ID: <[.", "Subject: \xff", "Cc: a@["])
def test_a_broken_header_hides_no_mail(stack: EmbeddedStack, messages: Messages, header: str) -> None:
    send(stack, mail())
    name = messages.keep(f"{header}\r\n\r\nhello".encode("latin-1"))
    assert "Your order" in get(stack).text
    assert "hello" in get(stack, f"/mails/{name}").text


@pytest.mark.parametrize(
    "path", ["/mails/", "/mails/nothing", "/mails/..%2f..%2fstatus.json", "/mails/../x", "/x"]
)
def test_what_is_no_mail_is_not_found(stack: EmbeddedStack, path: str) -> None:
    assert get(stack, path).status_code == 404


def test_pages_are_for_this_machine_and_for_reading(stack: EmbeddedStack) -> None:
    for name in ("mails.attacker.example", "["):
        assert get(stack, Host=name).status_code == 403
    assert httpx.delete(f"{stack.urls.mailbox}/", timeout=30).status_code == 501
    assert httpx.head(f"{stack.urls.mailbox}/", timeout=30).status_code == 200


def test_mails_outlive_a_kill(stack: EmbeddedStack, messages: Messages) -> None:
    send(stack, mail())
    mailbox = stack.component(MAILBOX)
    mailbox.kill()
    mailbox.start()
    assert len(messages.list(10)) == 1
    assert "Your order" in get(stack).text


def test_the_command_lists_and_shows_mails(command: Command) -> None:
    assert "no mail yet" in command.run("mailbox", "list").stdout
    folder: Path = command.settings.mail_folder
    name = Messages(folder).keep(mail().as_bytes())
    assert name in command.run("mailbox", "list").stdout
    assert '"subject": "Your order"' in command.run("mailbox", "list", "--json").stdout
    shown = command.run("mailbox", "show", name)
    assert "Subject: Your order" in shown.stdout
    assert "zwei Tassen" in shown.stdout
    missing = command.run("mailbox", "show", "nothing")
    assert missing.returncode == 1
    assert "cartstream mailbox list" in missing.stderr
