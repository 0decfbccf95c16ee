"""One process of the stack: start, log, signals, end."""

import asyncio
import contextlib
import os
import subprocess
import sys
from asyncio import StreamReader
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import IO

import psutil

from devstack import watchdog as watchdog_program
from devstack.files import UMASK, make_private, private
from runtime.environment import with_variables

LOG_BYTES_KEPT = 5_000_000
TAIL_LINES = 20

# The shell registers its pid with the watchdog through its standard input, then becomes the server.
LAUNCHER = f'umask {UMASK:03o} && echo "$$" >&0 && input=$1 && shift && exec "$@" <"$input"'


def launcher(argv: Sequence[str], stdin: Path = Path("/dev/null")) -> list[str]:
    """The command that registers with the watchdog, whose pipe is its stdin, and becomes `argv`."""
    return ["/bin/sh", "-c", LAUNCHER, argv[0], str(stdin), *argv]


class Watchdog:
    """The supervisor's side of the watchdog process; a killed one is replaced before the next start."""

    def __init__(self, lock_descriptor: int) -> None:
        self._lock_descriptor = lock_descriptor
        self._watched: set[int] = set()
        self._start()

    def descriptor(self) -> int:
        """The writing end of a living watchdog's pipe, as standard input for a launcher."""
        if self._process.poll() is not None:
            self._pipe.close()
            self._start()
            for pid in self._watched:
                self._tell(pid)
        return self._pipe.fileno()

    def watch(self, pid: int) -> None:
        """Remembers a process group, which has registered itself, for a watchdog that replaces this one."""
        self._watched.add(pid)

    def forget(self, pid: int) -> None:
        """Unregisters the process group of `pid`, which has ended."""
        self._watched.discard(pid)
        self._tell(-pid)

    def close(self) -> None:
        """Ends the watchdog; it first ends what is still registered."""
        self._pipe.close()
        self._process.wait(timeout=watchdog_program.GRACE_SECONDS + 5)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", watchdog_program.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._lock_descriptor],
            start_new_session=True,
            # Unbuffered: nothing is left to be flushed into the pipe of a dead watchdog.
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101  asked for above
        self._pipe = self._process.stdin

    def _tell(self, number: int) -> None:
        # A killed watchdog is replaced by `descriptor`, which registers everything again.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe.fileno(), f"{number}\n".encode())


class LogFile:
    """A component's log: a file, the last lines in memory, and a listener (the terminal)."""

    def __init__(self, path: Path, listener: Callable[[str], None]) -> None:
        self.folder = path.parent
        make_private(self.folder)
        if path.exists() and path.stat().st_size > LOG_BYTES_KEPT:
            path.replace(path.with_suffix(".log.1"))
        self._file: IO[bytes] = os.fdopen(
            private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0
        )
        self._listener = listener
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    async def follow(self, stream: StreamReader) -> None:
        """Copies `stream` to its end, a line at a time."""
        async for raw in _lines(stream):
            # A full disk costs lines of the log; the process must not stop because nobody reads its output.
            with contextlib.suppress(OSError):
                self._file.write(raw if raw.endswith(b"\n") else raw + b"\n")
            line = raw.decode(errors="replace").rstrip()
            self.tail.append(line)
            self._listener(line)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


UNCATCHABLE = frozenset((SIGSTOP, SIGCONT, SIGKILL))


class RunningProcess:
    """A started process with the group it leads."""

    def __init__(self, process: asyncio.subprocess.Process, watchdog: Watchdog, log: LogFile) -> None:
        assert process.stdout is not None  # noqa: S101  asked for in `launch`
        self._process = process
        self._watchdog = watchdog
        self._copying = asyncio.create_task(log.follow(process.stdout))
        self.pid = process.pid
        watchdog.watch(process.pid)
        self.created: float | None = None
        # It may have ended already.
        with contextlib.suppress(psutil.NoSuchProcess):
            self.created = psutil.Process(process.pid).create_time()

    @classmethod
    async def launch(
        cls, argv: tuple[str, ...], env: Mapping[str, str], watchdog: Watchdog, log: LogFile
    ) -> "RunningProcess":
        """Starts `argv` as the leader of a new session, known to the watchdog before it is itself."""
        process = await asyncio.create_subprocess_exec(
            *launcher(argv),
            env=with_variables(os.environ, env),
            stdin=watchdog.descriptor(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, watchdog, log)

    def signal(self, number: Signals) -> None:
        """Sends `number` to the whole group; a group that has ended is not an error.

        Signals that cannot be caught also go to descendants in other groups: those of Postgres would keep
        working while their parent is stopped, or stay stopped when it is killed.
        """
        left = self._descendants() if number in UNCATCHABLE else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    async def wait(self) -> int:
        """The exit code once the process, its group and its log have ended; a signal's number is negative."""
        code = await self._process.wait()
        # Children of a killed leader would keep its port.
        self.signal(SIGKILL)
        self._watchdog.forget(self.pid)
        # A process that left the group may hold the pipe open; its lines are not worth waiting for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._copying, timeout=1.0)
        return code

    async def stop(self, number: Signals, seconds: float) -> int:
        """Sends `number`, and SIGKILL after `seconds`; returns the exit code."""
        self.signal(number)
        self.signal(SIGCONT)
        try:
            await asyncio.wait_for(self._process.wait(), timeout=seconds)
        except TimeoutError:
            self.signal(SIGKILL)
        return await self._process.wait()


async def _lines(stream: StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return
        except asyncio.LimitOverrunError as long:
            # A line longer than the buffer is copied in parts.
            yield await stream.readexactly(long.consumed)
            continue
        yield line
