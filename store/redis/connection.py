"""A connection to a Redis server: commands out in one write, replies back in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import hiredis
import msgspec

from store.redis.errors import NotPrimary, StoreError, StoreUnavailable, UnknownOutcome, error_of
from store.redis.redis_internals import take_stream
from store.redis.servers import Server, Servers, redis_errors

INCOMPLETE: Final = object()
"""What a reader has instead of a reply that is not all there yet: a reply may be anything else."""

Taker = asyncio.Future[Any] | list[Any]
"""What takes a reply: the future that waits for it, or the list of a later one's companions."""

Waited = Callable[[float], None]
"""Is told how many seconds a batch took, from its first command to its last reply."""


class Speaker(Protocol):
    """A protocol (asyncio.Protocol) that speaks over a stream."""

    def begin(self, stream: asyncio.StreamWriter) -> None:
        """Send by this stream from now on, and keep it as long."""


S = TypeVar("S", bound=Speaker)


class _Sent(msgspec.Struct):
    """How many commands were sent once a batch was, since when and until when that waits (loop time)."""

    commands: int
    began: float
    deadline: float


class Batch(msgspec.Struct):
    """What one tick sends: packed commands, the taker of each reply, since when and until when they wait.

    Times are the loop's.
    """

    packed: list[bytes]
    takers: list[Taker]
    began: float
    deadline: float

    def fail(self, error: StoreError) -> None:
        """Tell everybody who waits."""
        _fail(self.takers, error)


class Connection(asyncio.Protocol):
    """One connection. Replies come in the order of the commands, so a queue of futures is all it takes.

    `lost` is called once, when the connection is of no more use; whoever still waited has got an error then.
    """

    def __init__(
        self, lost: Callable[["Connection", StoreError], None], waited: Waited | None = None
    ) -> None:
        self._lost: Final = lost
        self._waited: Final = waited
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final = hiredis.Reader(replyError=error_of, notEnoughData=INCOMPLETE)
        self._stream: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: Final[deque[Taker]] = deque()
        self._sent = 0
        self._received = 0
        self._unanswered: Final[deque[_Sent]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many replies are due."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether it is of use."""
        return self._transport is not None

    @property
    def unanswered_since(self) -> float | None:
        """Since when the next reply is waited for, in the loop's time; None: none is due."""
        return self._unanswered[0].began if self._unanswered else None

    def begin(self, stream: asyncio.StreamWriter) -> None:
        """Send by this stream (Speaker)."""
        self._stream = stream
        self._transport = stream.transport

    def send(self, batch: Batch) -> None:
        """Send a batch; its futures get the replies, or UnknownOutcome after its deadline."""
        if self._transport is None:
            batch.fail(UnknownOutcome("the connection to Redis broke: unknown outcome"))
            return
        self._waiting.extend(batch.takers)
        self._sent += len(batch.takers)
        self._unanswered.append(_Sent(self._sent, batch.began, batch.deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(batch.deadline, self._check_deadlines)
        self._transport.write(b"".join(batch.packed))

    def data_received(self, data: bytes) -> None:
        """Hand the replies to those who wait (asyncio.Protocol)."""
        reader, waiting = self._reader, self._waiting
        due = len(waiting)
        demoted: NotPrimary | None = None
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    continue  # nobody has asked for one
                taker = waiting.popleft()
                if isinstance(taker, list):
                    taker.append(reply)
                elif taker.done():
                    continue  # who waited has given up
                elif isinstance(reply, StoreError):
                    taker.set_exception(reply)
                    demoted = reply if isinstance(reply, NotPrimary) else demoted
                else:
                    taker.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(UnknownOutcome(f"Redis sent what is not its protocol ({error}): unknown outcome"))
            return
        self._received += due - len(waiting)
        self._note_answered()
        if demoted is not None:
            self.abort(UnknownOutcome("the server became a replica: unknown outcome"))

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone (asyncio.Protocol)."""
        self._end(
            UnknownOutcome(
                f"the connection to Redis broke ({error or 'closed by the server'}): unknown outcome"
            )
        )

    def abort(self, error: StoreError) -> None:
        """Drop the connection; everybody who waits gets `error`."""
        transport = self._transport
        self._end(error)
        if transport is not None:
            transport.abort()

    def close(self) -> None:
        """Close; everybody who waits gets UnknownOutcome."""
        self.abort(UnknownOutcome("the client was closed: unknown outcome"))

    def _end(self, error: StoreError) -> None:
        if self._transport is None:
            return
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        _fail(self._waiting, error)
        self._waiting.clear()
        self._lost(self, error)

    def _note_answered(self) -> None:
        now = self._loop.time()
        while self._unanswered and self._unanswered[0].commands <= self._received:
            sent = self._unanswered.popleft()
            if self._waited is not None:
                self._waited(now - sent.began)

    def _check_deadlines(self) -> None:
        self._timer = None
        if not self._unanswered:
            return
        deadline = self._unanswered[0].deadline
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._check_deadlines)
        else:
            # Replies come in order: behind a late one all others are late too.
            self.abort(UnknownOutcome("Redis did not answer in time: unknown outcome"))


async def open_connection(servers: Servers, server: Server, speaker: S, timeout_s: float) -> S:
    """The speaker, connected. redis-py connects, and tells the server who we are. Raises StoreError."""
    made = servers.connection(server, timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            with redis_errors():
                await made.connect()  # type: ignore[no-untyped-call]
                stream = take_stream(made)
    except TimeoutError as error:
        raise StoreUnavailable(f"no answer within {timeout_s} s") from error
    # From here replies are handed on where they arrive, without a task in between.
    stream.transport.set_protocol(speaker)  # type: ignore[arg-type]  # a Speaker is one
    speaker.begin(stream)
    return speaker


def _fail(takers: Iterable[Taker], error: StoreError) -> None:
    for taker in takers:
        if not isinstance(taker, list) and not taker.done():
            taker.set_exception(error)
