"""One connection for all: the requests of one event-loop tick share a pipeline.

A pool lends each request a connection and pays system calls for each; here a tick's commands are
written at once and their replies read in order. The connection is made again by itself. Requests that
had been sent when it broke say that their outcome is unknown; others wait for the next connection until
their time is up.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import stamina
import structlog

from store.redis import scripts
from store.redis.connection import Address, Batch, Connection, Taker, Waited, open_connection
from store.redis.errors import (
    ClusterUnsupported,
    ScriptMissing,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreUnavailable,
)
from store.redis.scripts import Script
from store.redis.settings import RedisSettings
from store.redis.wire import Argument, pack

log = structlog.get_logger(__name__)

_HELLO: Final = (b"HELLO",)
_ROLE_PAUSE_S: Final = 1.0


class PipelinedClient:
    """A connection to one Redis server. Belongs to one event loop."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str = "cartstream",
        patience_s: float | None = None,
        waited: Waited | None = None,
    ) -> None:
        """`name` is shown by CLIENT LIST.

        A connection may be lost for `patience_s` before requests are refused at once; without it they
        wait as long as for a reply. `waited` is told of each pipeline how long it took.
        """
        self._address: Final = Address.of(settings.redis_url)
        self._connect_timeout: Final = settings.redis_connect_timeout_s
        self._timeout: Final = settings.redis_timeout_s
        self._patience: Final = patience_s
        self._waited: Final = waited
        self._max_requests: Final = settings.redis_max_requests
        self._name: Final = name
        self._loop: asyncio.AbstractEventLoop
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._packed: list[bytes] = []
        self._takers: list[Taker] = []
        self._unsent: Final[deque[tuple[float, Batch]]] = deque()
        self._unsent_replies = 0
        self._flushing = False
        self._began = 0.0
        self._closed = False
        self._lost_at: float | None = None
        self._why = "not connected yet"
        self._asking: asyncio.Task[None] | None = None
        self.is_replica = False
        """Whether the server is a replica, as far as known: what is read there may be old."""

    async def connect(self) -> None:
        """Connect and load the scripts. Raises StoreError if that does not work at once."""
        self._loop = asyncio.get_running_loop()
        await self._open()

    def keep_connecting(self) -> None:
        """After `connect` has failed: go on trying in the background. Requests fail meanwhile."""
        self._lost_at = self._loop.time()
        self._connecting = self._loop.create_task(self._reconnect())

    async def close(self) -> None:
        """Close; requests under way fail with UnknownOutcome, later ones with StoreUnavailable."""
        self._closed = True
        self._why = "the client is closed"
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._asking is not None:
            self._asking.cancel()
        if self._connection is not None:
            self._connection.close()
        self._fail_unsent(self._loop.time() + self._timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    async def execute(self, *command: Argument) -> Any:
        """The reply to one command: bytes, int, list or None. Raises StoreError."""
        return await self.submit(pack(command))

    async def execute_all(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """The replies to commands of one pipeline. Raises the first StoreError among them."""
        futures = [self.submit(pack(command)) for command in commands]
        return list(await asyncio.gather(*futures))

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        """What a script returns."""
        return await self.call(script, pack((b"EVALSHA", script.sha, len(keys), *keys, *arguments)))

    async def call(self, script: Script, packed: bytes) -> Any:
        """What a script returns to this EVALSHA. One that the server has forgotten is loaded first."""
        try:
            return await self.submit(packed)
        except ScriptMissing:
            await self.submit(pack((b"SCRIPT", b"LOAD", script.source)))
            return await self.submit(packed)

    def submit(
        self, packed: bytes, companions: list[Any] | None = None, companion_count: int = 0
    ) -> asyncio.Future[Any]:
        """Send packed commands with this tick's others; the last reply.

        The `companion_count` replies before it, error replies included, are in `companions` by then.
        """
        if self._closed:
            raise StoreUnavailable(self._why)
        if self._lost_at is not None and self._given_up_at() <= self._loop.time():
            raise StoreUnavailable(self._no_connection())
        if self._under_way() >= self._max_requests:
            raise StoreBusy(
                f"{self._max_requests} requests to Redis are under way (CARTSTREAM_REDIS_MAX_REQUESTS)"
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
        batch = Batch(self._packed, self._takers, self._began, self._loop.time() + self._timeout)
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
        if self._lost_at is None or self._patience is None:
            return math.inf
        return self._lost_at + self._patience

    def _fail_unsent(self, until: float) -> None:
        while self._unsent and self._unsent[0][0] <= until:
            _, batch = self._unsent.popleft()
            self._unsent_replies -= len(batch.takers)
            batch.fail(StoreUnavailable(self._no_connection()))

    def _no_connection(self) -> str:
        return f"no connection to Redis at {self._address}: {self._why}"

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await open_connection(
                    self._address, lambda: Connection(self._on_lost, self._waited)
                )
                await self._greet(connection)
        except TimeoutError as error:
            self._why = f"no answer within {self._connect_timeout} s"
            raise StoreUnavailable(self._no_connection()) from error
        except (OSError, StoreError) as error:
            self._why = str(error)
            if isinstance(error, StoreError) and not error.retriable:
                raise
            raise StoreUnavailable(self._no_connection()) from error
        self._connection = connection
        self._lost_at = None
        self._ask_again_if_replica()
        while self._unsent:
            _, batch = self._unsent.popleft()
            self._unsent_replies -= len(batch.takers)
            connection.send(batch)

    async def _greet(self, connection: Connection) -> None:
        commands: list[tuple[Argument, ...]] = [
            *self._address.greeting(self._name),
            *((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL),
            _HELLO,
        ]
        futures = [self._loop.create_future() for _ in commands]
        now = self._loop.time()
        packed = [pack(command) for command in commands]
        connection.send(Batch(packed, [*futures], now, now + self._connect_timeout))
        try:
            *_, hello = await asyncio.gather(*futures[:-1], _or_none(futures[-1]))
            self._learn(hello)
        except BaseException:
            connection.close()
            raise

    def _learn(self, hello: list[Any] | None) -> None:
        """Take in what the server is, if it tells. Raises ClusterUnsupported."""
        facts = dict(zip(hello[::2], hello[1::2], strict=False)) if hello else {}
        if facts.get(b"mode") == b"cluster":
            raise ClusterUnsupported(
                f"Redis at {self._address} belongs to a cluster, which is not supported: "
                "set CARTSTREAM_REDIS_URL to a server of its own, such as redis://redis:6379/0"
            )
        self.is_replica = facts.get(b"role", b"master") != b"master"

    async def ask_role(self) -> None:
        """Learn whether the server is a replica by now: reads alone would never tell. Raises StoreError."""
        self._learn(await self.execute(*_HELLO))
        self._ask_again_if_replica()

    def _ask_again_if_replica(self) -> None:
        if self.is_replica and (self._asking is None or self._asking.done()):
            self._asking = self._loop.create_task(self._until_primary())

    async def _until_primary(self) -> None:
        """Ask the replica again and again what it is; a new connection is asked by its greeting."""
        log.warning(
            "redis.is_replica", address=str(self._address), meaning="reads are stale, changes refused"
        )
        while self.is_replica:
            await asyncio.sleep(_ROLE_PAUSE_S)
            with contextlib.suppress(StoreError):
                self._learn(await self.execute(*_HELLO))
        log.info("redis.is_primary", address=str(self._address))

    def _on_lost(self, connection: Connection, error: StoreError) -> None:
        if connection is not self._connection:
            return  # one that never got through its greeting
        self._connection = None
        if self._closed:
            return
        self._why = str(error)
        self._lost_at = self._loop.time()
        log.warning("redis.connection_lost", address=str(self._address), error=self._why)
        self._connecting = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        async for attempt in stamina.retry_context(
            on=StoreError, attempts=None, timeout=None, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
        ):
            with attempt:
                await self._open()
        log.info("redis.connected", address=str(self._address))


async def _or_none(answer: asyncio.Future[Any]) -> Any:
    """The answer, None where the server refuses it: an old one, or one that may not be asked."""
    try:
        return await answer
    except StoreBroken:
        return None
