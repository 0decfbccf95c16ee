"""What a component's preparation uses: commands that end (initdb, Maven) and notes to the terminal."""

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path

from devstack.errors import ComponentFailedError
from devstack.process import Watchdog, launcher
from devstack.spec import Note


class Preparation:
    """The commands and notes of one component's preparation. Cancelling `run` ends its command."""

    def __init__(self, watchdog: Watchdog, note: Note) -> None:
        self._watchdog = watchdog
        self.note = note

    async def run(self, *argv: str, stdin: str = "") -> None:
        """Runs a command quietly. Raises ComponentFailedError with its whole output when it fails."""
        with tempfile.NamedTemporaryFile("w", prefix="cartstream-") as given:
            given.write(stdin)
            given.flush()
            process = await asyncio.create_subprocess_exec(
                *launcher(argv, Path(given.name)),
                stdin=self._watchdog.descriptor(),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                output, _ = await process.communicate()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                self._watchdog.forget(process.pid)
        if process.returncode != 0:
            raise ComponentFailedError(
                f"this command failed with exit code {process.returncode}:\n{' '.join(argv)}\n"
                f"{output.decode(errors='replace')}"
            )
