"""Reads the requests of one connection: strictly, in turns with other connections, and not for ever."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from sanic.exceptions import SanicException
from sanic.http import Stage
from sanic.log import access_logger
from sanic.response import BaseHTTPResponse

from gateway.http.problems import Problem
from gateway.rates.policy import Taken
from gateway.rates.service import rate_headers
from gateway.server.bounds import FREE_BODY, Bounds
from gateway.server.chunks import ChunkDecoder
from gateway.server.dates import http_date
from gateway.server.early import EarlyAnswer, answer_to
from gateway.server.heads import Head, parse_head
from gateway.server.refusals import (
    HEAD_BYTES,
    Refused,
    bodies_full,
    cut_short,
    head_too_large,
    malformed,
    too_large,
    too_slow,
)
from gateway.server.sanic_internals import BareResponse, HookedHttp

if TYPE_CHECKING:
    from gateway.server.connections import Connection

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 8 * 1024 * 1024
"""Read and dropped after a refusal: a client reads its answer only if what it sends is taken."""


class Requests(HookedHttp):
    """The requests of one connection, one after the other."""

    __slots__ = (
        "_began",
        "_bounds",
        "_chunks",
        "_head",
        "_held",
        "_is_in_flight",
        "_is_refused",
        "_waited_s",
        "_waits",
        "taken",
    )

    def __init__(self, protocol: "Connection") -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._bounds: Bounds = protocol.bounds
        self.taken: list[Taken] = []
        """What the request has taken of quotas."""
        self._chunks: ChunkDecoder | None = None
        self._head: Head | None = None
        """Of a request that has its place already: the buffer begins with it, its task is to read it next."""
        self._waits = -1
        """Of the connection when the request before began."""
        self._held = 0
        self._is_in_flight = False
        self._is_refused = False
        self._waited_s = 0.0
        self._began = 0.0

    async def http1(self) -> None:
        """Serve the connection until one side ends it."""
        try:
            if await self._begins():
                await self.serve()
        finally:
            self._let_go()
            self._leave()
        if self._is_refused and not self.protocol.has_ended:
            await self._linger()

    async def http1_request_header(self) -> None:
        """Read first line and headers, and make the request of them.

        Raises Refused, ExpectationFailed, EarlyAnswer.
        """
        if self._waits == self.protocol.waits:
            # The request came together with the one before; those of other connections are next.
            await asyncio.sleep(0)
        self._waits = self.protocol.waits
        if self._head is None:
            self.taken.clear()
        buf = self.recv_buffer
        try:
            if buf == b"\r":
                await self._more("head", self._bounds.settings.head_wait_s)
            if buf.startswith(b"\r\n"):
                del buf[:2]  # Some clients end a body so (RFC 9112, 2.2).
            end = buf.find(b"\r\n\r\n", 0, HEAD_BYTES + 4)
            if end < 0:
                end = await self._rest_of_head()
            raw = bytes(buf[:end])
            head, self._head = self._head or parse_head(raw), None
        except SanicException:
            self._is_refused = True
            raise
        del buf[: end + 4]
        self.protocol.state["requests_count"] += 1
        self._begin(head)
        self._enter(head)
        self.make_request(head.method, head.target, head.version, head.headers, raw)

    def take_whole(self, data: bytes) -> bytes | None:
        """Give a request its place where its bytes are received, or turn it away: the answer.

        Waking the task of the connection would cost as much as that answer; and of those that come before the
        tasks have their turn no more may be let in than there is room for. None: the task reads the bytes, of
        a request that has its place by now, or of what is not one whole request.
        """
        end = data.find(b"\r\n\r\n", 0, HEAD_BYTES + 4)
        if end < 0 or not self._awaits_head:
            return None
        try:
            head = parse_head(data[:end])
        except SanicException:
            return None
        is_whole = not head.is_chunked and len(data) == end + 4 + (head.length or 0)
        if not is_whole or head.expects_continue or not self._keeps_alive(head):
            return None
        self.taken.clear()
        problem = self._let_in(head)
        if problem is None:
            self._head = head
            return None
        self.protocol.state["requests_count"] += 1
        early = self._early(head, problem, keep_alive=True)
        if self.protocol.access_log:
            self._log(early)
        return early.response

    async def error_response(self, exception: Exception) -> None:
        """Answer a request that failed."""
        if isinstance(exception, EarlyAnswer):
            await self.send_now(exception.response)
            if self.protocol.access_log:
                self._log(exception)
            self.stage = Stage.IDLE
        else:
            await super().error_response(exception)

    async def read(self) -> bytes | None:
        """Some of the body as it comes; None or nothing says little, `request_body` when it is over."""
        if self.expecting_continue:
            await self._continue()
        if self._chunks is not None:
            return await self._read_chunks(self._chunks)
        if self.request_bytes > self.request_max_size:
            raise self._refuse(too_large(self._bounds.body_bytes))
        buf, left = self.recv_buffer, self.request_bytes_left
        while not buf:
            await self._more_of_body(self.request_bytes - left)
        data = bytes(buf[:left])
        del buf[: len(data)]
        self.request_bytes_left = left - len(data)
        if not self.request_bytes_left:
            self.request_body = None
        return data

    async def read_whole(self) -> bytes:
        """The whole body. Raises Refused."""
        if self.expecting_continue:
            await self._continue()
        if self._chunks is not None:
            return await self._read_all_chunks(self._chunks)
        buf, size = self.recv_buffer, self.request_bytes
        if size > self.request_max_size:
            raise self._refuse(too_large(self._bounds.body_bytes))
        if size > FREE_BODY:
            self._hold(size)
        while len(buf) < size:
            await self._more_of_body(len(buf))
        data = bytes(buf[:size])
        del buf[:size]
        self.request_bytes_left = 0
        self.request_body = None
        return data

    def respond(self, response: BaseHTTPResponse) -> BaseHTTPResponse:
        """Make this the response to the request."""
        if not isinstance(response, BareResponse):
            response.headers["date"] = http_date()
        elif self.expecting_continue:
            self._leave_unread()
        if self._held:
            self._let_go()
        if self._is_in_flight:
            self._time(response.status)
        self._leave()
        if self.taken:
            response.headers.update(rate_headers(self.taken))
        return super().respond(response)

    async def _begins(self) -> bool:
        """Whether a first byte comes in time."""
        if self.recv_buffer or await self._comes(self._bounds.settings.head_wait_s):
            return True
        self._bounds.metrics.connections_cut.labels("silent").inc()
        return False

    async def _rest_of_head(self) -> int:
        """Where the head ends that has come in part."""
        buf, waited, seen = self.recv_buffer, 0.0, 0
        while True:
            end = buf.find(b"\r\n\r\n", max(0, seen - 3), HEAD_BYTES + 4)
            if end >= 0:
                return end
            seen = len(buf)
            if seen > HEAD_BYTES:
                raise head_too_large(in_first_line=buf.find(b"\r\n", 0, HEAD_BYTES) < 0)
            if buf.count(b"\n") != buf.count(b"\r\n"):
                raise malformed("a line does not end with CRLF")  # and its end might never come
            waited += await self._more("head", self._bounds.settings.head_wait_s - waited)

    @property
    def _awaits_head(self) -> bool:
        """Whether the next bytes are those of a request: not of a body, nor dropped after a refusal.

        A first request is the task's: it takes a connection for silent that has given it none.
        """
        return bool(self._began and self.keep_alive) and not self._is_refused and not self.request_body

    def _keeps_alive(self, head: Head) -> bool:
        """Whether the connection stays open after this request."""
        return head.keep_alive and self.protocol.app.config["KEEP_ALIVE"]

    def _begin(self, head: Head) -> None:
        self.url = head.target
        self.head_only = head.method == "HEAD"
        self.keep_alive = self._keeps_alive(head)
        self.request_bytes = self.request_bytes_left = head.length or 0
        self._chunks = None
        self._waited_s = 0.0
        self._began = time.monotonic()
        if head.length or head.is_chunked:
            self.request_body = True
            if head.is_chunked:
                self._chunks = ChunkDecoder()
            if head.expects_continue:
                self.expecting_continue = True
                self.response_func = self._answer_unread

    def _enter(self, head: Head) -> None:
        """Give the request a place, unless it has one. Raises EarlyAnswer: its body is dropped then."""
        if self._is_in_flight:
            return  # since its bytes were received
        problem = self._let_in(head)
        if problem is not None:
            if self.expecting_continue:
                self._leave_unread()
            raise self._early(head, problem, keep_alive=self.keep_alive)

    def _let_in(self, head: Head) -> Problem | None:
        """Give the request a place, or say why it gets none."""
        bounds = self._bounds
        problem = bounds.overload(head) if bounds.admission.is_limited else None
        if problem is None and bounds.rates.counts_addresses:
            problem = self._excess(head)
        if problem is None:
            self._is_in_flight = True
            bounds.admission.enter()
        return problem

    def _early(self, head: Head, problem: Problem, *, keep_alive: bool) -> EarlyAnswer:
        """Count what is answered before there is a request."""
        self._bounds.metrics.problems.labels(problem.kind.slug).inc()
        further = rate_headers(self.taken) if self.taken else {}
        answer = answer_to(head, problem, further, self._bounds.sharing, keep_alive=keep_alive)
        return EarlyAnswer(head, problem.kind.status, answer)

    def _log(self, early: EarlyAnswer) -> None:
        """The line of the access log, as Sanic writes it of others, but for the host in the address."""
        client = self.protocol.conn_info
        access_logger.info(
            "",
            extra={
                "status": early.status,
                "byte": len(early.response.partition(b"\r\n\r\n")[2]),
                "host": f"{client.client_ip}:{client.client_port}",
                "request": f"{early.head.method} {early.head.target}",
                "duration": "",
            },
        )

    def _excess(self, head: Head) -> Problem | None:
        """Why the request is one too many of its address; None: it is not."""
        taken = self._bounds.rates.of_address(self.protocol.address, head)
        if taken is None:
            return None
        self.taken.append(taken)
        return None if taken.is_allowed else self._bounds.rates.refused(taken)

    def _time(self, status: int) -> None:
        request = self.request
        if request.method == "OPTIONS":
            label = "OPTIONS"
        else:
            # Only the product's own routes have a label.
            label = "none" if request.route is None else getattr(request.route.ctx, "label", "none")
        self._bounds.answered(label, status, time.monotonic() - self._began - self._waited_s)

    def _leave(self) -> None:
        if self._is_in_flight:
            self._is_in_flight = False
            self._bounds.admission.leave()

    async def _answer_unread(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001  Sanic's own
        """Answer a client that waits for leave to send its body, without it unless it was read."""
        if self.expecting_continue:
            self._leave_unread()
        await self.http1_response_header(data, end_stream)

    def _leave_unread(self) -> None:
        """Do not read the body: the client waits for leave to send it, or sends it anyway, nobody knows."""
        self.expecting_continue = False
        self.keep_alive = False
        self.request_body = None
        self._is_refused = True

    async def _continue(self) -> None:
        self.expecting_continue = False
        if not self.recv_buffer:
            await self.send_now(_CONTINUE)

    async def _read_chunks(self, chunks: ChunkDecoder) -> bytes:
        while (data := self._decoded(chunks)) is None:
            await self._more_of_body(chunks.received)
        if chunks.is_over:
            self.request_body = None
        elif self.recv_buffer:
            await asyncio.sleep(0)  # more chunks are there than are decoded in one turn
        return data

    async def _read_all_chunks(self, chunks: ChunkDecoder) -> bytes:
        body = bytearray()
        while self.request_body:
            body += await self._read_chunks(chunks)
            if len(body) > FREE_BODY:
                self._hold(len(body) - self._held)
        return bytes(body)

    def _decoded(self, chunks: ChunkDecoder) -> bytes | None:
        try:
            data = chunks.take(self.recv_buffer)
        except Refused as refused:
            raise self._refuse(refused) from None
        if chunks.decoded > self.request_max_size:
            raise self._refuse(too_large(self._bounds.body_bytes))
        self.request_bytes = chunks.decoded
        return data

    async def _more_of_body(self, got: int) -> None:
        settings = self._bounds.settings
        grace_s = settings.body_wait_s + got / settings.body_bytes_per_s - self._waited_s
        self._waited_s += await self._more("body", min(settings.body_wait_s, grace_s))

    async def _more(self, part: str, most_s: float) -> float:
        """Wait for bytes; how many seconds that took. Raises Refused after `most_s`."""
        if self.protocol.has_ended:
            raise self._refuse(cut_short())
        began = time.monotonic()
        if not await self._comes(most_s):
            raise self._refuse(too_slow(part))
        return time.monotonic() - began

    async def _comes(self, within_s: float) -> bool:
        """Whether bytes, or the end of the client, come in time."""
        size = len(self.recv_buffer)
        try:
            async with asyncio.timeout(within_s):
                await self.protocol.receive_more()
        except TimeoutError:
            # They may have been there for long: timers come first in a process that got no time itself.
            await asyncio.sleep(0)
            return self.protocol.has_ended or len(self.recv_buffer) > size
        return True

    def _hold(self, size: int) -> None:
        if not self._bounds.bodies.hold(size):
            raise self._refuse(bodies_full())
        self._held += size

    def _let_go(self) -> None:
        self._bounds.bodies.let_go(self._held)
        self._held = 0

    def _refuse(self, refused: Refused) -> Refused:
        """The same, once the connection is sure to end after its answer."""
        self.keep_alive = False
        self.request_body = None
        self._is_refused = True
        return refused

    async def _linger(self) -> None:
        """Say that nothing more is sent, and take what still comes for a while."""
        transport, left = self.protocol.transport, _LINGER_BYTES
        if transport is None or transport.is_closing():
            return
        transport.write_eof()
        try:
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and not self.protocol.has_ended:
                    left -= len(self.recv_buffer)
                    self.recv_buffer.clear()
                    await self.protocol.receive_more()
        except TimeoutError:
            pass
