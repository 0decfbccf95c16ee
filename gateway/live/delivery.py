"""Sends a stream to its client, who may read slowly or not at all: memory is bounded, nobody else waits."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, cast

from sanic import Request

from gateway.live.events import MEDIA_TYPE, LiveEvent, retry
from gateway.live.settings import LiveSettings
from gateway.live.streams import Stream
from gateway.metrics import Metrics

_COME_BACK_S: Final = (1.0, 3.0)
"""When a client comes back that has lost its stream: not all at once."""
_SEND_BUFFER: Final = 64 * 1024
"""What the kernel may keep for a client, in bytes; by default it grows to megabytes."""

_HEADERS: Final = {
    "cache-control": "private, no-store",
    "x-accel-buffering": "no",  # nginx would collect events
}


class End(StrEnum):
    """Why a stream has ended."""

    CLIENT = "client"
    """The client has gone."""
    SLOW = "slow"
    """The client did not read."""
    DRAINED = "drained"
    """The worker stops."""
    LIFETIME = "lifetime"
    """The caller has to prove itself anew."""


class Delivery:
    """Sends streams."""

    def __init__(self, settings: LiveSettings, metrics: Metrics) -> None:
        self._settings: Final = settings
        self._metrics: Final = metrics

    async def deliver(self, request: Request, stream: Stream) -> None:
        """Answer the request with the stream, until one of them ends. CancelledError: the client has gone."""
        _bound_buffers(request, self._settings.live_slow_reader_s)
        response = await request.respond(content_type=MEDIA_TYPE, headers=_HEADERS)
        end = End.CLIENT
        try:
            end = await self._send_all(response.send, stream)
            if end is End.SLOW:
                _transport_of(request).abort()
                raise asyncio.CancelledError
        finally:
            self._metrics.live_streams_ended.labels(end.value).inc()

    async def head(self, request: Request) -> None:
        """Answer HEAD: a stream has no length, and none is begun."""
        response = await request.respond(content_type=MEDIA_TYPE, headers=_HEADERS)
        await response.send(b":")
        await response.eof()

    async def _send_all(self, send: Callable[[bytes], Awaitable[None]], stream: Stream) -> End:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.live_lifetime_s
        try:
            await self._send(send, _come_back_later())
            while loop.time() < until:
                found = await stream.next(self._settings.live_heartbeat_s)
                if found is None:
                    break
                if isinstance(found, LiveEvent):
                    await self._send(send, found.frame)
                    self._metrics.live_events.labels(found.kind.value).inc()
                else:
                    await self._send(send, found)
            await self._send(send, _come_back_later())
        except TimeoutError:
            return End.SLOW
        return End.DRAINED if stream.is_ended else End.LIFETIME

    async def _send(self, send: Callable[[bytes], Awaitable[None]], frame: bytes) -> None:
        """Send once the client has taken what was sent before. TimeoutError if it does not."""
        async with asyncio.timeout(self._settings.live_slow_reader_s):
            await send(frame)


def _bound_buffers(request: Request, unread_s: float) -> None:
    """Let a write wait as soon as the client has not taken the one before."""
    transport = _transport_of(request)
    transport.set_write_buffer_limits(high=0)
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A host that has vanished acknowledges nothing; the kernel alone would hope for a quarter of an hour.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(2000 * unread_s))


def _transport_of(request: Request) -> asyncio.Transport:
    return cast("asyncio.Transport", request.transport)  # Sanic's type knows a few of its methods only


def _come_back_later() -> bytes:
    return retry(random.uniform(*_COME_BACK_S))  # noqa: S311  apart from each other, no secret
