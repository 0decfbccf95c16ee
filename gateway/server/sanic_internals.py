"""Every part of Sanic that the gateway overrides or calls though Sanic documents it for nobody.

The classes here are Sanic's, with hooks; what the gateway does in them stands in its other modules.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final, cast

from sanic import Request, Sanic, headers
from sanic.exceptions import RequestCancelled
from sanic.http import Http, Stage
from sanic.response import HTTPResponse
from sanic.router import Router
from sanic.server.protocols.base_protocol import SanicProtocol
from sanic.server.protocols.http_protocol import HttpProtocol

from gateway.server.arrivals import Arrival
from gateway.server.dates import date_line
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
    PrivatePart(Http, "head_response_ignored", "answer HEAD of a stream", ("data", "end_stream")),
    PrivatePart(Http, "create_empty_request", "answer what is no request", ()),
    PrivatePart(
        Request,
        "__init__",
        "make requests",
        ("url_bytes", "headers", "version", "method", "transport", "app", "head", "stream_id"),
    ),
    PrivatePart(Request, "receive_body", "read a body as a whole", ()),
    PrivatePart(SanicProtocol, "_can_write", "find clients that read nothing"),
    PrivatePart(SanicProtocol, "_task", "find clients that read nothing"),
    PrivatePart(SanicProtocol, "_data_received", "wait for bytes, and for the end of the client"),
    PrivatePart(SanicProtocol, "_time", "know since when a client has sent and read nothing"),
    PrivatePart(
        HttpProtocol,
        "__init__",
        "make connections",
        ("loop", "app", "signal", "connections", "state", "unix", "kwargs"),
    ),
    PrivatePart(HttpProtocol, "data_received", "take bytes without looking up a setting", ("data",)),
    PrivatePart(HttpProtocol, "send", "send to whoever reads without waiting", ("data",)),
    PrivatePart(SanicProtocol, "receive_more", "learn that a connection waits for its client", ()),
    PrivatePart(HttpProtocol, "_callback_check_timeouts", "find clients that read nothing"),
    PrivatePart(HttpProtocol, "_http", "know what a connection does"),
    PrivatePart(HttpProtocol, "HTTP_CLASS", "read requests with a class of the gateway"),
    PrivatePart(HttpProtocol, "check_timeouts", "end connections whose client reads nothing", ()),
    PrivatePart(Sanic, "handle_request", "answer requests without what no route has", ("request",)),
    PrivatePart(Router, "_get", "remember routes", ("path", "method", "host")),
    PrivatePart(HTTPResponse, "_cookies", "make responses without cookies"),
    PrivatePart(HTTPResponse, "send", "send responses as a whole", ("data", "end_stream")),
    PrivatePart(headers, "_HTTP1_STATUSLINES", "say what every status is called"),
)

_KEEP_ALIVE: Final = b"connection: keep-alive\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n\r\n"
_WITHOUT_CONTENT: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


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
    response_func: Any

    async def serve(self) -> None:
        """Serve one request after the other."""
        await super().http1()  # type: ignore[no-untyped-call]

    async def send_now(self, data: bytes) -> None:
        """Send bytes beside the response."""
        await self._send(data)

    async def send_whole(self, response: BareResponse) -> None:
        """Send this response to the request; nothing of it is left to be sent."""
        self.response_func = None
        whole = response.whole(keep_alive=bool(self.keep_alive), with_body=not self.head_only)
        if self.protocol.access_log:
            response.headers["content-length"] = len(response.body)  # for the log alone
            self.log_response()
        await self._send(whole)
        self.stage = Stage.IDLE

    def make_request(
        self, method: str, target: str, version: str, headers: list[tuple[str, str]], raw: bytes
    ) -> None:
        """Make the request that the connection works on from now on."""
        protocol = self.protocol
        made = protocol.request_class
        request = made(target.encode(), headers, version, method, protocol.transport, protocol.app, raw)
        self.request, request.stream = request, self

    async def head_response_ignored(  # type: ignore[override]  # Sanic awaits it, and its own is no coroutine
        self,
        data: bytes,
        end_stream: bool,  # noqa: FBT001
    ) -> None:
        """Drop the body of an answer to HEAD."""
        super().head_response_ignored(data, end_stream)

    def create_empty_request(self) -> None:
        """Make a request for the answer to what could not be read as one.

        Sanic's has the same target: one that is no URL would fail again, and the connection would end without
        an answer.
        """
        self.url = None
        super().create_empty_request()


class HookedProtocol(HttpProtocol):
    """One connection."""

    __slots__ = ("has_ended", "most_unread", "waits")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._data_received: Any = Arrival(self.loop)
        self.most_unread: int = self.app.config["REQUEST_BUFFER_SIZE"]
        """Bytes of the client that are taken before they are read."""
        self.has_ended = False
        """Whether the client has said that it sends nothing more."""
        self.waits = 0
        """How often the connection has waited for its client."""

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client; no more of them while there are many."""
        # What Sanic does, without looking up a setting for each request.
        self._time = time.monotonic()
        self.recv_buffer += data
        if len(self.recv_buffer) >= self.most_unread and self.transport is not None:
            self.transport.pause_reading()
        self._data_received.set()

    async def receive_more(self) -> None:
        """Wait until the client has sent more, or has ended. CancelledError if it has ended already."""
        if self.has_ended:
            raise asyncio.CancelledError
        self.waits += 1
        # What Sanic does, without a coroutine more for each request.
        if self.transport is not None:
            self.transport.resume_reading()
        await self._data_received.next()

    async def send(self, data: bytes) -> None:
        """Send once the client reads what was sent before. RequestCancelled if it is gone."""
        # What Sanic does, without a coroutine more for each response.
        if not self._can_write.is_set():
            await self._can_write.wait()
        if self.transport is None or self.transport.is_closing():
            raise RequestCancelled
        self.transport.write(data)
        self._time = time.monotonic()

    @property
    def can_send(self) -> bool:
        """Whether the client is there and has read what was sent before."""
        return self._can_write.is_set() and self.transport is not None and not self.transport.is_closing()

    def send_at_once(self, data: bytes) -> None:
        """Send while `can_send`."""
        cast("asyncio.Transport", self.transport).write(data)
        self._time = time.monotonic()

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


class HookedApp(Sanic[Any, Any]):
    """The app."""

    async def handle_request(self, request: Request) -> None:
        """Answer a request.

        What Sanic does, without what no route here has: signals, websockets, middleware before the handler.
        """
        try:
            route, handler, parameters = self.router.get(
                request.path, request.method, request.headers.get("host")
            )
            request.route = route
            stream: Any = request.stream
            if stream.request_body and not route.extra.ignore_body:
                if hasattr(handler, "is_stream"):
                    stream.request_max_size = math.inf
                else:
                    await request.receive_body()  # type: ignore[no-untyped-call]
            response = await handler(request, **parameters)
            if response is None:
                response = stream.response  # the handler has answered, and has sent some of it
            elif route.extra.response_middleware:
                response = await request.respond(response)
            else:
                response = stream.respond(response)
                request.responded = True
            await response.send(end_stream=True)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
            await self.handle_exception(request, error, run_middleware=False)


class BareResponse(HTTPResponse):
    """A response whose head is made of lines already, and which is sent as a whole.

    Sanic's own has a case-insensitive multi-dictionary, encodes every header of it, and passes through four
    coroutines; that costs more than parsing the request.
    """

    __slots__ = ("lines",)

    body: bytes

    def __init__(self, status: int, body: bytes, lines: bytes) -> None:
        """`lines` are headers, each with its CRLF; those that every response has are added."""
        # Not HTTPResponse's own: making its headers is what this class saves.
        self.asgi = False
        self.body = body
        self.content_type = None
        self.stream = None
        self.status = status
        self.headers: Any = {}
        """Further ones, which whoever sees the response on its way has added."""
        self._cookies = None
        self.lines = lines

    def whole(self, *, keep_alive: bool, with_body: bool) -> bytes:
        """All that is sent. One without content, such as 304, has no length either."""
        head = headers._HTTP1_STATUSLINES[self.status] + self.lines  # noqa: SLF001
        for name, value in self.headers.items():
            head += f"{name}: {value}\r\n".encode()
        connection = _KEEP_ALIVE if keep_alive else _CLOSE
        if self.status in _WITHOUT_CONTENT:
            return b"%b%b%b" % (head, date_line(), connection)
        body = self.body if with_body else b""
        return b"%b%bcontent-length: %d\r\n%b%b" % (head, date_line(), len(self.body), connection, body)

    def send(self, data: Any = None, end_stream: bool | None = None) -> Coroutine[Any, Any, None]:  # noqa: ARG002, FBT001  Sanic's own
        """Send all of it."""
        stream: Any = self.stream
        sending: Coroutine[Any, Any, None] = stream.send_whole(self)
        return sending
