"""The mailbox's pages over HTTP: read-only, for this machine."""

import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from devstack.mailbox.messages import Messages
from devstack.mailbox.pages import POLICY, list_page, mail_page, plain_page

SHOWN: Final = 200
_OWN_NAMES: Final = {"127.0.0.1", "localhost", "::1"}
_HTML: Final = "text/html; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"


class _Pages(BaseHTTPRequestHandler):
    """GET and HEAD; everything else is 501, as http.server answers what has no method here."""

    server_version = "cartstream-mailbox"
    sys_version = ""
    timeout = 10

    def __init__(self, messages: Messages, *args: object) -> None:
        self._messages = messages
        super().__init__(*args)  # type: ignore[arg-type]  # what the server hands over

    def do_GET(self) -> None:
        """Answer with a page."""
        status, kind, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        # Not frame-ancestors: the frame of a mail would inherit it and stay empty.
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  (http.server's name)

    def log_message(self, *_: object) -> None:
        """Not a line for each request: the page renews itself."""

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        # A name that somebody's page has pointed at this machine may not read mails.
        if _name_in(self.headers.get("Host", "")) not in _OWN_NAMES:
            return _page(HTTPStatus.FORBIDDEN, "Forbidden", "Ask by the name localhost or 127.0.0.1.")
        path = self.path.partition("?")[0]
        if path == "/":
            return HTTPStatus.OK, _HTML, list_page(self._messages.list(SHOWN)).encode()
        if path == "/health":
            return HTTPStatus.OK, _TEXT, b"ok\n"
        folder, _, name = path.rpartition("/")
        message = self._messages.read(name.removesuffix(".eml")) if folder == "/mails" else None
        if message is None:
            return _page(HTTPStatus.NOT_FOUND, "Not found", "There is no such mail.")
        if name.endswith(".eml"):
            return HTTPStatus.OK, _TEXT, message.raw
        return HTTPStatus.OK, _HTML, mail_page(message).encode()


def _name_in(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _page(status: HTTPStatus, title: str, text: str) -> tuple[HTTPStatus, str, bytes]:
    return status, _HTML, plain_page(title, text).encode()


def serve_pages(messages: Messages, host: str, port: int) -> ThreadingHTTPServer:
    """Serve until `shutdown` is called, on a thread of its own. Raises OSError when the port is taken."""
    server = ThreadingHTTPServer((host, port), partial(_Pages, messages))
    threading.Thread(target=server.serve_forever, name="mailbox-pages", daemon=True).start()
    return server
