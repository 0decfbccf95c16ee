"""A connection that subscribes to shard channels of one server, made again by itself."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import hiredis
import stamina
import structlog

from runtime.cancellation import cancel_until_ended
from store.redis.connection import INCOMPLETE, open_connection
from store.redis.errors import StoreError, StoreUnavailable, error_of
from store.redis.servers import Locate, Server, Servers
from store.redis.wire import Argument, pack

log = structlog.get_logger(__name__)

_PING_S: Final = 5.0
"""Pause between pings. Who did not answer one by the next is dead."""
_PAUSE_S: Final = 1.0
"""After a failure that nobody has foreseen."""


class _PushConnection(asyncio.Protocol):
    """`over` is set when it is of no more use; `why` says why."""

    def __init__(self, heard: Callable[[list[Any]], None]) -> None:
        self._heard: Final = heard
        self._reader: Final = hiredis.Reader(replyError=error_of, notEnoughData=INCOMPLETE)
        self._stream: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.over: Final = asyncio.Event()
        self.why: StoreError = StoreUnavailable("closed by the server")
        self.answered: Final = asyncio.Event()

    def begin(self, stream: asyncio.StreamWriter) -> None:
        """Send by this stream (Speaker)."""
        self._stream = stream
        self._transport = stream.transport

    def send(self, *commands: tuple[Argument, ...]) -> None:
        """Send commands; on a connection that is over, nothing."""
        if self._transport is not None:
            self._transport.write(b"".join(pack(command) for command in commands))

    def data_received(self, data: bytes) -> None:
        """Hand on what was pushed (asyncio.Protocol)."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    self._heard(reply)
                elif isinstance(reply, StoreError):
                    self.abort(reply)
                elif reply == b"PONG":
                    self.answered.set()
        except hiredis.ProtocolError as error:
            self.abort(StoreUnavailable(f"Redis sent what is not its protocol ({error})"))

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone (asyncio.Protocol)."""
        if error is not None:
            self.why = StoreUnavailable(str(error))
        self._end()

    def abort(self, error: StoreError) -> None:
        """Drop the connection."""
        self.why = error
        transport = self._transport
        self._end()
        if transport is not None:
            transport.abort()

    def _end(self) -> None:
        self._transport = None
        self.over.set()
        self.answered.set()

    async def answers(self) -> None:
        """Returns once everything sent so far has been answered. Raises StoreError if it is not to be."""
        self.answered.clear()
        self.send((b"PING",))
        if not self.over.is_set():
            await self.answered.wait()
        if self.over.is_set():
            raise self.why


class Home:
    """Where channels are heard. Belongs to one event loop, and begins to connect at once."""

    def __init__(
        self,
        servers: Servers,
        locate: Locate,
        name: str,
        connect_timeout_s: float,
        *,
        heard: Callable[["Home", list[Any]], None],
        changed: Callable[[], None],
    ) -> None:
        """`heard` gets what is pushed. `changed` is called when listening begins or ends, or cannot begin.

        Each channel that it has subscribed to is pushed as `ssubscribe` when listening begins.
        """
        self._servers: Final = servers
        self._locate: Final = locate
        self._name: Final = name
        self._connect_timeout: Final = connect_timeout_s
        self._heard: Final = heard
        self._changed: Final = changed
        self._server: Server | None = None
        self._connection: _PushConnection | None = None
        self.channels: Final[set[bytes]] = set()
        """What is heard here, or is to be."""
        self.is_listening = False
        self._running: Final = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Hear no more."""
        cancel_until_ended(self._running)
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def subscribe(self, channel: bytes) -> None:
        """Hear the channel, if it is not heard already."""
        if channel not in self.channels:
            self.channels.add(channel)
            self._send(b"SSUBSCRIBE", channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Hear no more of it."""
        if channel in self.channels:
            self.channels.discard(channel)
            self._send(b"SUNSUBSCRIBE", channel)

    def _send(self, command: bytes, channel: bytes) -> None:
        if self._connection is not None:
            self._connection.send((command, channel))

    async def _run(self) -> None:
        while True:
            try:
                async for attempt in stamina.retry_context(
                    on=StoreError,
                    attempts=None,
                    timeout=None,
                    wait_initial=0.02,
                    wait_max=1.0,
                    wait_jitter=0.1,
                ):
                    with attempt:
                        connection = await self._open()
                await self._listen(connection)
            except Exception:
                # Whatever it was: streams that hear of no change any more would show old carts.
                log.exception("redis.subscribing_failed", address=str(self._server or self._servers))
                await asyncio.sleep(_PAUSE_S)

    async def _open(self) -> _PushConnection:
        connection = _PushConnection(lambda push: self._heard(self, push))
        try:
            async with asyncio.timeout(self._connect_timeout):
                self._server = await self._locate()
                await open_connection(self._servers, self._server, connection, self._connect_timeout)
                # Each channel by itself: in a cluster one command could not name several slots.
                connection.send(
                    (b"CLIENT", b"SETNAME", self._name),
                    *((b"SSUBSCRIBE", channel) for channel in self.channels),
                )
                self._connection = connection
                await connection.answers()
        except TimeoutError as error:
            raise self._failed(connection, f"no answer within {self._connect_timeout} s") from error
        except (OSError, StoreError) as error:
            raise self._failed(connection, str(error)) from error
        except BaseException as error:
            self._failed(connection, repr(error))
            raise
        return connection

    def _failed(self, connection: _PushConnection, why: str) -> StoreUnavailable:
        self._connection = None
        error = StoreUnavailable(f"no subscription at {self._server or self._servers}: {why}")
        connection.abort(error)
        self._changed()
        return error

    async def _listen(self, connection: _PushConnection) -> None:
        """Returns when the connection is lost, or another server is the one."""
        self.is_listening = True
        self._changed()
        log.info("redis.subscribed", address=str(self._server), partitions=len(self.channels))
        for channel in sorted(self.channels):
            self._heard(self, [b"ssubscribe", channel, len(self.channels)])
        try:
            while not await _is_over(connection) and await self._is_there_still():
                pass
        finally:
            self.is_listening = False
            self._connection = None
            connection.abort(connection.why)
        log.warning("redis.subscription_lost", address=str(self._server), error=str(connection.why))
        self._changed()

    async def _is_there_still(self) -> bool:
        try:
            return await self._locate() == self._server
        except StoreError:
            return True  # without sentinels the last master stays the one


async def _is_over(connection: _PushConnection) -> bool:
    """Whether the connection is lost, or does not answer; False after a while in which it was not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PING_S):
            await connection.over.wait()
        return True
    try:
        async with asyncio.timeout(_PING_S):
            await connection.answers()
    except (TimeoutError, StoreError):
        return True
    return False
