"""One connection of the server: whether there is room for it, and when it ends."""

import asyncio
import time
from typing import Any, Final, NamedTuple

from sanic.http import Stage

from gateway.http.problems import CONNECTIONS_FULL, Problem, retry_after
from gateway.server.addresses import peer_of
from gateway.server.bounds import Bounds, Connections, Full
from gateway.server.early import refusal
from gateway.server.requests import Requests
from gateway.server.sanic_internals import HookedProtocol

_REFUSED_S: Final = 1.0
"""For a client to read why it was refused."""
_REFUSED_AT_ONCE: Final = 64
"""Further ones are cut: no bound counts them."""
_PROBLEMS: Final = {
    full: Problem(CONNECTIONS_FULL, detail, headers=retry_after(1))
    for full, detail in (
        (Full.ALL, "The gateway has as many connections as it may; try again, or use one that is open."),
        (Full.ADDRESS, "Your address has as many connections as it may; use one that is open."),
    )
}


class Unread(NamedTuple):
    """What waits for a client to read it, and since when it is so much."""

    bytes: int
    since: float

    def is_read(self, now: "Unread", bytes_per_s: int) -> bool:
        """Whether the client has read of it at this rate or faster."""
        return self.bytes - now.bytes > bytes_per_s * (now.since - self.since)


class Connection(HookedProtocol):
    """One connection and its requests."""

    HTTP_CLASS = Requests
    __slots__ = ("_unread", "address", "bounds")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bounds: Bounds = self.app.ctx.bounds
        self.address = ""
        self._unread: Unread | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection if there is room for it."""
        self.address = peer_of(transport)
        full = self.bounds.connections.enter(self.address)
        if full is None:
            self.bounds.metrics.connections.inc()
            super().connection_made(transport)  # type: ignore[no-untyped-call]
        else:
            self.bounds.metrics.connections_refused.labels(full.value).inc()
            refused = RefusedConnection(self.bounds.connections, full)
            transport.set_protocol(refused)
            refused.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Let bytes be read; under too much load, answer a request that there is no room for on the spot."""
        requests = self.doing
        if (
            self.bounds.admission.is_limited
            and isinstance(requests, Requests)
            and self.is_idle
            and self.can_send
            and (refusal := requests.take_whole(data)) is not None
        ):
            self.send_at_once(refusal)
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Both sides have ended."""
        self.bounds.connections.leave(self.address)
        self.bounds.metrics.connections.dec()
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def eof_received(self) -> bool:
        """The client sends nothing more. Whether the connection stays, for it to read its answers."""
        requests = self.doing
        if (
            self.is_idle
            or requests is None
            or (requests.stage is Stage.RESPONSE and not requests.request_bytes)
        ):
            # Nothing to read, or an endless stream, whose client is gone.
            return False
        self.has_ended = True
        self.wake()
        return True

    def pause_writing(self) -> None:
        """The client does not read: do not read what it sends."""
        super().pause_writing()  # type: ignore[no-untyped-call]
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()  # type: ignore[no-untyped-call]
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def check_timeouts(self) -> None:
        """End what takes too long. Sanic would wait without end to send its last answer to who reads none."""
        if not self.is_unread or self.transport is None:
            self._unread = None
            super().check_timeouts()  # type: ignore[no-untyped-call]
            return
        now = Unread(self.transport.get_write_buffer_size(), time.monotonic())
        if self._unread is None or self._unread.is_read(now, self.bounds.settings.body_bytes_per_s):
            self._unread = now
        elif now.since - self._unread.since > self.response_timeout:
            self.bounds.metrics.connections_cut.labels("unread").inc()
            self.abort()  # type: ignore[no-untyped-call]
            return
        self.check_again(self.response_timeout / 4)


class RefusedConnection(asyncio.Protocol):
    """A connection for which there is no room: it is told so, whatever it asks."""

    def __init__(self, connections: Connections, full: Full) -> None:
        self._connections: Final = connections
        self._full: Final = full

    def connection_made(self, transport: Any) -> None:
        """Answer, and end soon."""
        self._connections.refused += 1
        if self._connections.refused > _REFUSED_AT_ONCE:
            transport.abort()
            return
        transport.write(refusal(_PROBLEMS[self._full], keep_alive=False))
        transport.write_eof()
        asyncio.get_running_loop().call_later(_REFUSED_S, transport.abort)

    def connection_lost(self, _: Exception | None) -> None:
        """Both sides have ended."""
        self._connections.refused -= 1
