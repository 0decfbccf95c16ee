"""A worker as its supervisor sees it."""

import asyncio
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from runtime.supervision.link import Command


class WorkerProcess:
    """A process that has been started, and what the supervisor can tell it."""

    def __init__(
        self, process: Process, answers: asyncio.StreamReader, commands: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._answers = answers
        self._commands = commands
        self._began = time.monotonic()
        self.pid = process.pid
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(
        cls, argv: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
    ) -> "WorkerProcess":
        """Start it; it does not work yet. OSError if the system has no process for it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=theirs.fileno(), pass_fds=descriptors, env=environment
                )
            except OSError:
                ours.close()
                raise
        return cls(process, *await asyncio.open_connection(sock=ours))

    async def says(self, word: bytes, within_s: float | None) -> bool:
        """Returns once it has said so (True), or has ended, said something else or taken too long (False)."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._answers.read(1) == word
        return False

    def send(self, command: Command) -> None:
        """Send it a command; one that is dead by now needs none."""
        self._commands.write(command.value)

    def terminate(self) -> None:
        """SIGTERM, for one that may not read commands yet."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def end_within(self, seconds: float) -> int:
        """Wait for its end, and kill -9 it after so many seconds; its exit code."""
        await asyncio.wait([self.ended], timeout=seconds)
        with suppress(ProcessLookupError):
            self._process.kill()
        code = await self.ended
        self._commands.close()
        return code

    @property
    def lasted_s(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._began
