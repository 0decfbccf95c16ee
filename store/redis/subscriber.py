"""Hears of changes of carts: the shard channels of some partitions, on a connection of its own.

What is published while the connection is away is lost. So the listener is told from when on a partition is
heard, and reads what it may have missed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import hiredis
import stamina
import structlog

from store.redis.connection import Address, open_connection
from store.redis.errors import StoreError, StoreUnavailable, error_of
from store.redis.layout import EVERY_CART, Layout
from store.redis.settings import RedisSettings
from store.redis.wire import Argument, pack

log = structlog.get_logger(__name__)

_PING_S: Final = 5.0
"""Pause between pings. Who did not answer one by the next is dead."""


class ChangeListener(Protocol):
    """Who wants to hear."""

    def changed(self, cart_id: str, tag: str) -> None:
        """The cart has this version now, or a newer one."""

    def hearing(self, partition: int) -> None:
        """Every change of the partition's carts from now on is heard; earlier ones may have been missed."""

    def deaf(self) -> None:
        """Nothing has been heard of any partition for longer than the patience."""


class _PushConnection(asyncio.Protocol):
    """A connection in subscribe mode. `over` is set when it is of no more use; `why` says why."""

    def __init__(self, heard: Callable[[list[Any]], None]) -> None:
        self._heard: Final = heard
        self._reader: Final = hiredis.Reader(replyError=error_of)
        self._transport: asyncio.Transport | None = None
        self.over: Final = asyncio.Event()
        self.why: StoreError = StoreUnavailable("closed by the server")
        self.answered: Final = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is up (asyncio.Protocol)."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, *commands: tuple[Argument, ...]) -> None:
        """Send commands; on a connection that is over, nothing."""
        if self._transport is not None:
            self._transport.write(b"".join(pack(command) for command in commands))

    def data_received(self, data: bytes) -> None:
        """Hand on what was pushed (asyncio.Protocol)."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, StoreError):
                    self.abort(reply)
                elif isinstance(reply, list):
                    self._take(reply)
                elif reply == b"PONG":
                    self.answered.set()
        except hiredis.ProtocolError as error:
            self.abort(StoreUnavailable(f"Redis sent what is not its protocol ({error})"))

    def _take(self, reply: list[Any]) -> None:
        if reply[0] == b"pong":
            self.answered.set()
        else:
            self._heard(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone (asyncio.Protocol)."""
        if error is not None:
            self.why = StoreUnavailable(str(error))
        self._end()

    def abort(self, error: StoreError) -> None:
        """Drop the connection."""
        self.why = error
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        self._transport = None
        self.over.set()
        self.answered.set()

    async def answers(self) -> None:
        """Returns once everything sent so far has been answered. Raises StoreError if it is not to be."""
        self.answered.clear()
        self.send((b"PING",))
        await self.answered.wait()
        if self.over.is_set():
            raise self.why


class ChangeSubscriber:
    """Hears of changes in the partitions that somebody follows. Belongs to one event loop."""

    def __init__(self, settings: RedisSettings, layout: Layout, *, name: str, patience_s: float) -> None:
        """`name` is shown by CLIENT LIST. The connection may be lost for `patience_s` before it matters."""
        self._address: Final = Address.of(settings.redis_url)
        self._connect_timeout: Final = settings.redis_connect_timeout_s
        self._name: Final = name
        self._patience: Final = patience_s
        self._channels: Final = [layout.of_partition(p).events for p in range(layout.partitions)]
        self._partitions: Final = {channel: p for p, channel in enumerate(self._channels)}
        self._followed: Final[set[int]] = set()
        self._listener: ChangeListener
        self._connection: _PushConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._patience_timer: asyncio.TimerHandle | None = None
        self._is_listening = False
        self.is_deaf = False

    def start(self, listener: ChangeListener) -> None:
        """Connect, and stay connected, in the background."""
        self._listener = listener
        self._lose_patience_later()
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Hear no more."""
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    def follow(self, partition: int) -> None:
        """Hear of changes in the partition; `hearing` says from when on."""
        self._followed.add(partition)
        if self._connection is not None:
            self._connection.send((b"SSUBSCRIBE", self._channels[partition]))

    def leave(self, partition: int) -> None:
        """Hear no more of the partition."""
        self._followed.discard(partition)
        if self._connection is not None:
            self._connection.send((b"SUNSUBSCRIBE", self._channels[partition]))

    async def _run(self) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=StoreError, attempts=None, timeout=None, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    connection = await self._open()
            await self._listen(connection)

    async def _open(self) -> _PushConnection:
        connection: _PushConnection | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await open_connection(self._address, lambda: _PushConnection(self._heard))
                # Each channel by itself: in a cluster one command could not name several slots.
                connection.send(
                    *self._address.greeting(self._name),
                    *((b"SSUBSCRIBE", self._channels[partition]) for partition in self._followed),
                )
                self._connection = connection
                await connection.answers()
        except TimeoutError as error:
            raise self._failed(connection, f"no answer within {self._connect_timeout} s") from error
        except (OSError, StoreError) as error:
            raise self._failed(connection, str(error)) from error
        except asyncio.CancelledError:
            self._failed(connection, "closed")
            raise
        return connection

    def _failed(self, connection: _PushConnection | None, why: str) -> StoreUnavailable:
        self._connection = None
        error = StoreUnavailable(f"no subscription at {self._address}: {why}")
        if connection is not None:
            connection.abort(error)
        return error

    async def _listen(self, connection: _PushConnection) -> None:
        """Returns when the connection is lost."""
        self._have_patience()
        self._is_listening = True
        log.info("redis.subscribed", address=str(self._address), partitions=len(self._followed))
        for partition in sorted(self._followed):
            self._listener.hearing(partition)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PING_S):
                        await connection.over.wait()
                    break
                try:
                    async with asyncio.timeout(_PING_S):
                        await connection.answers()
                except (TimeoutError, StoreError):
                    break
        finally:
            self._is_listening = False
            self._connection = None
            connection.abort(connection.why)
        log.warning("redis.subscription_lost", address=str(self._address), error=str(connection.why))
        self._lose_patience_later()

    def _have_patience(self) -> None:
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        self.is_deaf = False

    def _lose_patience_later(self) -> None:
        self._patience_timer = asyncio.get_running_loop().call_later(self._patience, self._go_deaf)

    def _go_deaf(self) -> None:
        self.is_deaf = True
        self._listener.deaf()

    def _heard(self, push: list[Any]) -> None:
        kind, channel, message = push
        partition = self._partitions.get(channel)
        if partition is None:
            return
        if kind == b"smessage" and message == EVERY_CART:
            self._listener.hearing(partition)
        elif kind == b"smessage":
            # Ids may hold spaces, tags do not.
            cart_id, _, tag = message.rpartition(b" ")
            self._listener.changed(cart_id.decode(), tag.decode())
        elif kind == b"ssubscribe" and self._is_listening and partition in self._followed:
            self._listener.hearing(partition)
