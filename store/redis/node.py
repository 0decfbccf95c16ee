"""One connection to one server for all: the requests of one event-loop tick share a pipeline.

A pool lends each request a connection and pays system calls for each; here a tick's commands are
written at once and their replies read in order. The connection is made again by itself. Requests that
had been sent when it broke say that their outcome is unknown; others wait for the next connection until
their time is up.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import DecorrelatedJitterBackoff

from runtime.cancellation import cancel_until_ended
from store.redis import scripts
from store.redis.connection import Batch, Connection, Taker, Waited, open_connection
from store.redis.errors import (
    ClusterUnexpected,
    ServerLeft,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    UnknownOutcome,
)
from store.redis.servers import Locate, Server, Servers, Topology
from store.redis.wire import Argument, pack

log = structlog.get_logger(__name__)

_HELLO: Final = (b"HELLO",)
_ROLE_PAUSE_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 1.0
_PRIMARY: Final = b"master"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How a node waits, and what for.

    A connection may be lost for `patience_s` before requests are refused at once; without it they wait as
    long as for a reply. `waited` is told of each pipeline how long it took.
    """

    name: str
    connect_timeout_s: float
    timeout_s: float
    max_requests: int
    patience_s: float | None = None
    waited: Waited | None = None


class Node:
    """A connection to a server. Belongs to one event loop."""

    def __init__(
        self, servers: Servers, locate: Locate, bounds: Bounds, lost: Callable[[], None] | None = None
    ) -> None:
        """`lost` is called when the connection is lost, and each time that no other can be made."""
        self._servers: Final = servers
        self._locate: Final = locate
        self._bounds: Final = bounds
        self._lost: Final = lost or _nobody
        self._loop: Final = asyncio.get_running_loop()
        self._server: Server | None = None
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._packed: list[bytes] = []
        self._takers: list[Taker] = []
        self._unsent: Final[deque[tuple[float, Batch]]] = deque()
        self._unsent_replies = 0
        self._flushing = False
        self._began = 0.0
        self._closed: StoreUnavailable | None = None
        self._lost_at: float | None = None
        self._why = "not connected yet"
        self._is_missed = False
        self._asking: asyncio.Task[None] | None = None
        self.is_replica = False
        """Whether the server is a replica, as far as known: what is read there may be old."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    @property
    def unanswered_since(self) -> float | None:
        """Since when the next reply is waited for, in the loop's time; None: none is due."""
        return None if self._connection is None else self._connection.unanswered_since

    @property
    def address(self) -> str:
        """Where the server is, or where it is looked for."""
        return str(self._server or self._servers)

    async def open(self) -> None:
        """Connect and load the scripts. Raises StoreError if that does not work at once."""
        try:
            self._server = await self._locate()
            connection = await open_connection(
                self._servers,
                self._server,
                Connection(self._on_lost, self._bounds.waited),
                self._bounds.connect_timeout_s,
            )
            await self._greet(connection)
        except StoreError as error:
            self._why, self._is_missed = str(error), True
            if not error.retriable:
                raise
            raise StoreUnavailable(self._no_connection()) from error
        if self._closed is not None:
            connection.close()
            raise self._closed
        self._connection = connection
        self._lost_at = None
        self._ask_again_if_replica()
        while self._unsent:
            _, batch = self._unsent.popleft()
            self._unsent_replies -= len(batch.takers)
            connection.send(batch)

    @property
    def host(self) -> str:
        """The server's name or address."""
        return (self._server or self._servers.seeds[0]).host

    async def until_open(self) -> None:
        """Wait for the first connection. Raises StoreUnavailable if that takes too long."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=self._bounds.connect_timeout_s)
        if self._connection is None:
            raise StoreUnavailable(self._no_connection())

    def keep_connecting(self) -> None:
        """Go on trying in the background. Requests wait, or fail if there is no patience."""
        self._lost_at = self._loop.time()
        self._connecting = self._loop.create_task(self._reconnect())

    async def close(self) -> None:
        """Close; requests under way fail with UnknownOutcome, later ones with StoreUnavailable."""
        self._end(StoreUnavailable("the client is closed"))
        if self._connecting is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._connection is not None:
            self._connection.close()

    def leave(self) -> None:
        """Send nothing more: it has no slots now. What is under way may end; the rest is ServerLeft."""
        self._end(ServerLeft(f"Redis at {self.address} has left the cluster, or has no slots"))
        if (connection := self._connection) is not None:
            self._loop.call_later(self._bounds.timeout_s, connection.close)

    def _end(self, error: StoreUnavailable) -> None:
        self._closed = error
        self._why = str(error)
        for task in (self._connecting, self._asking):
            if task is not None:
                cancel_until_ended(task)
        self._flush()
        self._fail_unsent(math.inf, error)

    async def execute(self, *command: Argument) -> Any:
        """The reply of this server to one command. Raises StoreError."""
        return await self.submit(pack(command))

    def submit(
        self, packed: bytes, companions: list[Any] | None = None, companion_count: int = 0
    ) -> asyncio.Future[Any]:
        """Send packed commands with this tick's others; the last reply.

        The `companion_count` replies before it, error replies included, are in `companions` by then.
        """
        if self._closed is not None:
            raise type(self._closed)(self._why)
        if self._lost_at is not None and self._given_up_at() <= self._loop.time():
            raise StoreUnavailable(self._no_connection())
        if self._under_way() >= self._bounds.max_requests:
            raise StoreBusy(
                f"{self._bounds.max_requests} requests to Redis are under way (CARTSTREAM_REDIS_MAX_REQUESTS)"
            )
        future: asyncio.Future[Any] = self._loop.create_future()
        self._packed.append(packed)
        if companions is not None:
            self._takers += [companions] * companion_count
        self._takers.append(future)
        if not self._flushing:
            self._flushing = True
            self._began = self._loop.time()
            self._loop.call_soon(self._flush)
        return future

    def _under_way(self) -> int:
        sent = self._unsent_replies if self._connection is None else len(self._connection)
        return sent + len(self._takers)

    def _flush(self) -> None:
        self._flushing = False
        if not self._takers:
            return
        batch = Batch(self._packed, self._takers, self._began, self._loop.time() + self._bounds.timeout_s)
        self._packed, self._takers = [], []
        if self._connection is not None:
            self._connection.send(batch)
            return
        until = min(batch.deadline, self._given_up_at())
        self._unsent.append((until, batch))
        self._unsent_replies += len(batch.takers)
        self._loop.call_at(until, self._fail_unsent, until)

    def _given_up_at(self) -> float:
        """From when on nobody waits for the connection any more."""
        if self._lost_at is None or self._bounds.patience_s is None:
            return math.inf
        return self._lost_at + self._bounds.patience_s

    def _fail_unsent(self, until: float, error: StoreUnavailable | None = None) -> None:
        while self._unsent and self._unsent[0][0] <= until:
            _, batch = self._unsent.popleft()
            self._unsent_replies -= len(batch.takers)
            batch.fail(error or StoreUnavailable(self._no_connection()))

    def _no_connection(self) -> str:
        return f"no connection to Redis at {self.address}: {self._why}"

    async def _greet(self, connection: Connection) -> None:
        """Load the scripts and learn what the server is. Whoever may not be asked need not answer."""
        commands: list[tuple[Argument, ...]] = [
            (b"CLIENT", b"SETNAME", self._bounds.name),
            *((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL),
            _HELLO,
        ]
        futures = [self._loop.create_future() for _ in commands]
        now = self._loop.time()
        packed = [pack(command) for command in commands]
        connection.send(Batch(packed, [*futures], now, now + self._bounds.connect_timeout_s))
        try:
            _, *_, hello = await asyncio.gather(_or_none(futures[0]), *futures[1:-1], _or_none(futures[-1]))
            self._learn(hello)
            self._check_usable(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, UnknownOutcome):
                # Nothing that anybody has asked for was sent.
                raise StoreUnavailable(str(error)) from error
            raise

    def _learn(self, hello: dict[bytes, Any] | None) -> None:
        """Take in what the server is, if it tells. Raises ClusterUnexpected."""
        facts = hello or {}
        is_cluster = facts.get(b"mode", b"") == b"cluster"
        if facts and is_cluster != (self._servers.topology is Topology.CLUSTER):
            raise ClusterUnexpected(
                f"Redis at {self.address} belongs to {'a' if is_cluster else 'no'} cluster: "
                f"set CARTSTREAM_REDIS_URL to redis{'+cluster' if is_cluster else ''}://{self.address}"
            )
        self.is_replica = facts.get(b"role", _PRIMARY) != _PRIMARY

    def _check_usable(self, connection: Connection) -> None:
        if not connection.is_open:
            raise StoreUnavailable("the server closed the connection at once")
        if self.is_replica and self._servers.topology is not Topology.SINGLE:
            raise StoreUnavailable("it is a replica")

    async def ask_role(self) -> None:
        """Learn whether the server is a replica by now: reads alone would never tell. Raises StoreError.

        Where there is a primary elsewhere, this one is left at once.
        """
        self._learn(await _or_none(self.submit(pack(_HELLO))))
        if self.is_replica and self._servers.topology is not Topology.SINGLE:
            self._drop("the server became a replica")
        elif self._servers.topology is Topology.SENTINEL and await self._is_deposed():
            # A master that the others do not reach may believe in itself for long.
            self.is_replica = True
            self._drop("the sentinels have another master")
        self._ask_again_if_replica()

    async def _is_deposed(self) -> bool:
        server = self._server
        try:
            found = await self._locate()
        except StoreError:
            return False  # without sentinels the last master stays the one
        return server is self._server and found != server

    def _drop(self, why: str) -> None:
        if self._connection is not None:
            self._connection.abort(UnknownOutcome(f"{why}: unknown outcome"))

    def _ask_again_if_replica(self) -> None:
        if (
            self.is_replica
            and self._servers.topology is Topology.SINGLE
            and (self._asking is None or self._asking.done())
        ):
            self._asking = self._loop.create_task(self._until_primary())

    async def _until_primary(self) -> None:
        """Ask the replica again and again what it is; a new connection is asked by its greeting."""
        log.warning("redis.is_replica", address=self.address, meaning="reads are stale, changes refused")
        while self.is_replica:
            await asyncio.sleep(_ROLE_PAUSE_S)
            with contextlib.suppress(StoreError):
                self._learn(await self.execute(*_HELLO))
        log.info("redis.is_primary", address=self.address)

    def _on_lost(self, connection: Connection, error: StoreError) -> None:
        if connection is not self._connection:
            return  # one that never got through its greeting
        self._connection = None
        if self._closed is not None:
            return
        self._why, self._is_missed = str(error), True
        log.warning("redis.connection_lost", address=self.address, error=self._why)
        self.keep_connecting()
        self._lost()

    async def _reconnect(self) -> None:
        async def failed(error: Exception) -> None:
            if not isinstance(error, StoreError):
                self._why = repr(error)
                log.error("redis.connecting_failed", address=self.address, exc_info=error)
            self._lost()

        # Not one that doubles: redis-py's overflow after a thousand failures.
        backoff = DecorrelatedJitterBackoff(base=_FIRST_PAUSE_S, cap=_LONGEST_PAUSE_S)
        # Whatever it was: a process that never connects again would break the promise.
        retry = Retry(backoff, retries=-1, supported_errors=(Exception,))  # type: ignore[arg-type]  # any will do
        await retry.call_with_retry(self.open, failed)
        if self._is_missed:  # a command says nothing of connections that are as they should be
            self._is_missed = False
            log.info("redis.connected", address=self.address)


async def _or_none(answer: asyncio.Future[Any]) -> Any:
    """The answer, None where the server refuses it: an old one, or one that may not be asked."""
    try:
        return await answer
    except StoreBroken:
        return None


def _nobody() -> None:
    """Nobody is told."""
