"""A TCP proxy that breaks like a network: cut, slow, resetting, held up, half-open (only requests arrive)."""

import asyncio
import contextlib
import random
import socket
import struct
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024
SLOW_SECONDS: Final = 0.15
"""What a slow network adds to each chunk, in each direction."""
_RESETS: Final = 0.2
"""How likely a resetting network breaks in a chunk: many connections end as both sides greet each other."""
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class NetworkCondition(StrEnum):
    """How the network is."""

    NORMAL = "normal"
    CUT = "cut"
    """Connections are reset, new ones too."""
    SLOW = "slow"
    HALF_OPEN = "half-open"
    """What the client sends arrives; what the server answers does not, and nobody is told."""
    HELD_UP = "held up"
    """What the client sends arrives when the condition changes, and nobody is told."""
    RESETTING = "resetting"
    """Connections are reset, each in the middle of something else."""


class Proxies:
    """Several networks that break together."""

    def __init__(self, *proxies: "Proxy") -> None:
        self._proxies = proxies

    @property
    def condition(self) -> NetworkCondition:
        """How the first of them is."""
        return self._proxies[0].condition

    @condition.setter
    def condition(self, condition: NetworkCondition) -> None:
        for proxy in self._proxies:
            proxy.condition = condition


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`upstream`; runs on the event loop that entered it."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port: Final = port
        self._upstream = upstream
        self._condition = NetworkCondition.NORMAL
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def condition(self) -> NetworkCondition:
        """How the network is now."""
        return self._condition

    @condition.setter
    def condition(self, condition: NetworkCondition) -> None:
        """Changes it for connections that stand, too; those that were cut stay cut."""
        self._condition = condition
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if condition is NetworkCondition.CUT:
            for writer in self._writers:
                writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        # A broken connection is what this proxy is for, and a cancelled one is its end.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self._condition is not NetworkCondition.CUT:
                await self._join(reader, writer)
        self._writers.discard(writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            flows = [
                asyncio.ensure_future(self._flow(reader, up_writer, replies=False)),
                asyncio.ensure_future(self._flow(up_reader, writer, replies=True)),
            ]
            try:
                await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for flow in flows:
                    flow.cancel()
                ends = await asyncio.gather(*flows, return_exceptions=True)
                if any(isinstance(end, ConnectionResetError) for end in ends):
                    for side in (writer, up_writer):
                        _reset_at_close(side)
        finally:
            up_writer.transport.abort()

    async def _flow(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await source.read(_CHUNK):
            if self._condition is NetworkCondition.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            held_up = NetworkCondition.HALF_OPEN if replies else NetworkCondition.HELD_UP
            while self._condition is held_up:
                await self._changed.wait()
            if self._condition is NetworkCondition.RESETTING and random.random() < _RESETS:
                sink.write(data[: random.randrange(len(data) + 1)])
                raise ConnectionResetError
            sink.write(data)
            await sink.drain()


def _reset_at_close(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
