"""Accepts the connections of a listening socket, many in each turn of the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from socket import socket
from typing import Final

import structlog

log = structlog.get_logger(__name__)

AT_ONCE: Final = 64
"""In each turn, by all workers together; those who are connected have their turns, too."""
_AGAIN_S: Final = 1.0


class Acceptor:
    """Accepts until it is closed. Belongs to one event loop.

    uvloop's own servers accept one connection in each turn (libuv from 1.45). A loop under load has few
    turns: the backlog gets full, and clients come again after seconds.
    """

    def __init__(self, listener: socket, protocol: Callable[[], asyncio.Protocol], at_once: int) -> None:
        """`protocol` makes one for each connection. The listener is not closed.

        `at_once` are accepted in each turn; where others accept from the same socket, the rest is theirs.
        """
        self._listener: Final = listener.dup()
        self._listener.setblocking(False)  # noqa: FBT003
        self._protocol: Final = protocol
        self._at_once: Final = at_once
        self._loop: Final = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: Final[set[asyncio.Task[None]]] = set()

    @property
    def is_opening(self) -> bool:
        """Whether a connection has been accepted that its protocol does not have yet."""
        return bool(self._opening)

    def start(self) -> None:
        """Accept from now on."""
        self._timer = None
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more. Those that have been accepted are opened: see `is_opening`."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor, no memory: others have to end first
                log.warning("gateway.server.not_accepting", error=repr(error), seconds=_AGAIN_S)
                self._loop.remove_reader(self._listener)
                self._timer = self._loop.call_later(_AGAIN_S, self.start)
                return
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket) -> None:
        # One that has ended by now, or that its protocol has refused, is no error.
        with contextlib.suppress(OSError, RuntimeError):
            await self._loop.connect_accepted_socket(self._protocol, connection)
