"""A real SMTP server for the tests: keeps what it takes, and answers as a test wants it to."""

import asyncio
import email
import email.policy
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any, Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from devstack.free_ports import free_ports

HOST: Final = "127.0.0.1"


class SmtpServer:
    """Takes mails on a port of loopback. One that was opened before opens again on the same port."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.mails: list[EmailMessage] = []
        self.to_answer: defaultdict[str, list[str]] = defaultdict(list)
        """By recipient, the answers to the next RCPTs; then it is `250 OK`."""
        self.to_answer_data: defaultdict[str, list[str]] = defaultdict(list)
        """By recipient, the answers to the next mails; what is not accepted is not kept."""
        self.silent = False
        """Whether mails are kept and not answered, until `answer_now` is called."""
        self._may_answer = asyncio.Event()
        self.answers_after_s = 0.0
        """How long the server thinks about a mail that it has."""
        self._server: asyncio.Server | None = None

    def answer_now(self) -> None:
        """Answer the mails that were kept in silence."""
        self._may_answer.set()

    def to(self, address: str) -> list[EmailMessage]:
        """The mails taken for the address."""
        return [mail for mail in self.mails if mail["To"] == address]

    async def open(self) -> None:
        """Begin to take mails."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, HOST, self.port)

    async def close(self) -> None:
        """Take none any more: connections are refused."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _session(self) -> SMTP:
        return SMTP(self, enable_SMTPUTF8=True, hostname="post.test")

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """The next answer for the recipient."""
        answers = self.to_answer[address]
        answer = answers.pop(0) if answers else "250 OK"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail, then answer, unless the test wants silence."""
        answers = self.to_answer_data[envelope.rcpt_tos[0]]
        answer = answers.pop(0) if answers else "250 OK"
        content: Any = envelope.original_content
        if answer.startswith("2"):
            self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        if self.silent:
            await self._may_answer.wait()
        await asyncio.sleep(self.answers_after_s)
        return answer


@asynccontextmanager
async def running_smtp_server() -> AsyncIterator[SmtpServer]:
    """An SMTP server that is open."""
    smtp = SmtpServer()
    await smtp.open()
    try:
        yield smtp
    finally:
        await smtp.close()


def ids(mails: list[EmailMessage]) -> list[str]:
    """Their Message-IDs."""
    return [mail["Message-ID"] for mail in mails]
