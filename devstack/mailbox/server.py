"""Runs the mailbox: takes mails by SMTP, for anybody, and sends none on."""

import asyncio
import contextlib
import signal
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from devstack.mailbox.messages import Messages
from devstack.mailbox.web import serve_pages
from devstack.settings import StackSettings

LARGEST_BYTES: Final = 8 * 1024 * 1024


class Keeper:
    """Keeps every mail of a session; only then does the server say 250."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    async def handle_DATA(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep it."""
        content = envelope.original_content or b""
        name = await asyncio.to_thread(self._messages.keep, content)
        return f"250 2.0.0 kept as {name}"


async def serve(settings: StackSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when a port is taken."""
    messages = Messages(settings.mail_folder)
    keeper = Keeper(messages)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def session() -> SMTP:
        return SMTP(keeper, data_size_limit=LARGEST_BYTES, enable_SMTPUTF8=True, hostname="mailbox.localhost")

    server = await loop.create_server(session, settings.mailbox_host, settings.mailbox_smtp_port)
    pages = serve_pages(messages, settings.mailbox_host, settings.mailbox_port)
    try:
        await stop.wait()
    finally:
        server.close()
        await asyncio.to_thread(pages.shutdown)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()
