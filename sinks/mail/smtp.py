"""Sends mails over SMTP and classifies the answers: refused, put off, or a problem of the server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final

import aiosmtplib

from sinks.errors import SinkError
from sinks.mail.settings import MailSinkSettings

CLOSE_SECONDS: Final = 2.0
_SERVICE_CLOSES: Final = 421
_MESSAGE_TOO_LARGE: Final = 552
_PERMANENT: Final = 500


class MailRefused(SinkError):
    """The server will never accept this mail: a non-retryable error."""


class MailPutOff(SinkError):
    """The server does not accept this mail now (full mailbox, greylisting); it may accept others."""


class MailServerAway(SinkError):
    """The server cannot be reached or accepts no mail from this sender. This mail may have been accepted."""


def judge(error: aiosmtplib.SMTPException | OSError) -> SinkError:
    """What an exception of a mail's transaction says of the mail.

    By the reply codes of RFC 5321, section 4.2.1; whatever is not about recipient or content is about the
    server, and no reason to give a mail up.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    text = str(error)[:500]
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return MailRefused(text)
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code != _SERVICE_CLOSES:
        of_mail = isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)
        if error.code == _MESSAGE_TOO_LARGE or (of_mail and error.code >= _PERMANENT):
            return MailRefused(text)
        if of_mail:
            return MailPutOff(text)
    return MailServerAway(f"{type(error).__name__}: {text}")


class SmtpClient:
    """One connection to the mail server, for one mail at a time. Use it from one task."""

    def __init__(self, settings: MailSinkSettings) -> None:
        self._settings = settings
        self._client: aiosmtplib.SMTP | None = None

    async def connect(self) -> None:
        """Connect if there is no connection. Raises MailServerAway."""
        if self._client is not None and self._client.is_connected:
            return
        settings = self._settings
        password = settings.smtp_password
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user,
            password=password.get_secret_value() if password else None,
            timeout=settings.smtp_timeout_s,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            # Not the machine's name: looking it up can take the name server's whole timeout.
            local_hostname=settings.sender.domain,
        )
        async with _classified():
            await client.connect()
        self._client = client

    async def send(self, message: EmailMessage, recipient: Address) -> None:
        """Send a mail; returns when the server has accepted it.

        Raises MailRefused, MailPutOff, MailServerAway.
        """
        if self._client is None:
            raise MailServerAway("not connected")
        try:
            async with _classified(), asyncio.timeout(self._settings.smtp_timeout_s):
                # Not send_message: it folds long words in headers, and a link is one.
                await self._client.sendmail(
                    self._settings.sender.addr_spec, [recipient.addr_spec], message.as_bytes()
                )
        except MailServerAway:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; never raises."""
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.quit()
        client.close()


@asynccontextmanager
async def _classified() -> AsyncIterator[None]:
    try:
        yield
    except (aiosmtplib.SMTPException, OSError) as error:  # a TimeoutError is an OSError
        raise judge(error) from error
