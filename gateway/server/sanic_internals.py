"""Every part of Sanic that the gateway overrides or calls though Sanic documents it for nobody.

The classes here are Sanic's, with hooks; what the gateway does in them stands in its other modules.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final, cast

from sanic import Request, headers
from sanic.http import Http, Stage
from sanic.response import HTTPResponse
from sanic.router import Router
from sanic.server.protocols.base_protocol import SanicProtocol
from sanic.server.protocols.http_protocol import HttpProtocol

from runtime.private_parts import PrivatePart

PARTS: Final = (
    PrivatePart(Http, "_send", "send 100 Continue"),
    PrivatePart(Http, "http1", "wait for the first byte, and close so that the client reads the answer", ()),
    PrivatePart(Http, "http1_request_header", "read first line and headers strictly", ()),
    PrivatePart(Http, "error_response", "answer requests before they are made", ("exception",)),
    PrivatePart(Http, "http1_response_header", "answer without 100 Continue", ("data", "end_stream")),
    PrivatePart(Http, "read", "read bodies strictly", ()),
    PrivatePart(Http, "respond", "date every response", ("response",)),
    PrivatePart(Http, "request_body", "say that a body is read"),
    PrivatePart(Http, "request_bytes", "say how long a body is"),
    PrivatePart(Http, "request_bytes_left", "say how long a body is"),
    PrivatePart(Http, "request_max_size", "bound bodies of all routes but streams"),
    PrivatePart(Http, "expecting_continue", "send 100 Continue when the body is read"),
    PrivatePart(Http, "response_func", "answer without 100 Continue"),
    PrivatePart(Http, "keep_alive", "end a connection after its answer"),
    PrivatePart(Http, "head_only", "answer HEAD"),
    PrivatePart(Http, "url", "log requests"),
    PrivatePart(
        Request,
        "__init__",
        "make requests",
        ("url_bytes", "headers", "version", "method", "transport", "app", "head", "stream_id"),
    ),
    PrivatePart(Request, "_current", "let Sanic know the request of a task"),
    PrivatePart(Request, "receive_body", "read a body as a whole", ()),
    PrivatePart(SanicProtocol, "_can_write", "find clients that read nothing"),
    PrivatePart(SanicProtocol, "_task", "find clients that read nothing"),
    PrivatePart(SanicProtocol, "_data_received", "wait for bytes, and for the end of the client"),
    PrivatePart(SanicProtocol, "receive_more", "learn that a connection waits for its client", ()),
    PrivatePart(HttpProtocol, "_callback_check_timeouts", "find clients that read nothing"),
    PrivatePart(HttpProtocol, "_http", "know what a connection does"),
    PrivatePart(HttpProtocol, "HTTP_CLASS", "read requests with a class of the gateway"),
    PrivatePart(HttpProtocol, "check_timeouts", "end connections whose client reads nothing", ()),
    PrivatePart(Router, "_get", "remember routes", ("path", "method", "host")),
    PrivatePart(HTTPResponse, "_cookies", "make responses without cookies"),
    PrivatePart(headers, "_HTTP1_STATUSLINES", "say what every status is called"),
)


def name_every_status() -> None:
    """Let every answer say what its status is called.

    Sanic makes the first lines of all answers when it is imported, of a table that lacks 421 and others.
    """
    lines = headers._HTTP1_STATUSLINES  # noqa: SLF001
    for status in HTTPStatus:
        if lines[status].endswith(b" UNKNOWN\r\n"):
            lines[status] = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()


class HookedHttp(Http):
    """The requests of one connection, one after the other."""

    __slots__ = ()

    # Sanic's types are None where the values never are, and lack what a subclass has.
    protocol: Any
    recv_buffer: bytearray
    request_body: Any
    """True while a body is read."""
    request_bytes: Any
    request_bytes_left: Any

    async def serve(self) -> None:
        """Serve one request after the other."""
        await super().http1()  # type: ignore[no-untyped-call]

    async def send_now(self, data: bytes) -> None:
        """Send bytes beside the response."""
        await self._send(data)

    def make_request(
        self, method: str, target: str, version: str, headers: list[tuple[str, str]], raw: bytes
    ) -> None:
        """Make the request that the connection's task works on from now on."""
        protocol = self.protocol
        made = protocol.request_class
        request = made(target.encode(), headers, version, method, protocol.transport, protocol.app, raw)
        made._current.set(request)  # noqa: SLF001
        self.request, request.stream = request, self


class HookedProtocol(HttpProtocol):
    """One connection."""

    __slots__ = ("has_ended", "waits")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.has_ended = False
        """Whether the client has said that it sends nothing more."""
        self.waits = 0
        """How often the connection has waited for its client."""

    async def receive_more(self) -> None:
        """Wait until the client has sent more, or has ended. CancelledError if it has ended already."""
        if self.has_ended:
            raise asyncio.CancelledError
        self.waits += 1
        # What Sanic does, without a coroutine more for each request.
        if self.transport is not None:
            self.transport.resume_reading()
        self._data_received.clear()
        await self._data_received.wait()

    @property
    def doing(self) -> HookedHttp | None:
        """Its requests; None before the first and after the last."""
        return cast("HookedHttp | None", getattr(self, "_http", None))

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, and none has begun to come."""
        return self.doing is None or (self.doing.stage is Stage.IDLE and not self.recv_buffer)

    def wake(self) -> None:
        """Let whoever waits for bytes look again."""
        self._data_received.set()

    @property
    def is_unread(self) -> bool:
        """Whether so much waits for the client to read it that nothing more is written."""
        return self._task is not None and not self._can_write.is_set()

    def check_again(self, seconds: float) -> None:
        """Check the timeouts again after so many seconds."""
        self._callback_check_timeouts = self.loop.call_later(seconds, self.check_timeouts)


class HookedRouter(Router):
    """The router."""

    def find(self, path: str, method: str) -> Any:
        """The route, its handler and the parameters in the path. Raises NotFound, MethodNotAllowed."""
        return self._get(path, method, None)


class BareResponse(HTTPResponse):
    """A response without the dictionary of headers that Sanic encodes one by one."""

    __slots__ = ()

    def __init__(self, status: int, body: bytes) -> None:
        # Not HTTPResponse's own: making its headers is what this class saves.
        self.asgi = False
        self.body = body
        self.content_type = None
        self.stream = None
        self.status = status
        self.headers: Any = {}
        self._cookies = None
