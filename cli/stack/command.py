"""Commands that run once and end: initdb, Maven, a format."""

import asyncio
import os
import signal

from cli.stack.errors import ComponentFailedError


async def run_to_end(*argv: str, stdin: str = "") -> None:
    """Runs a command quietly. Raises ComponentFailedError with its whole output when it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise ComponentFailedError(
            f"this command failed with exit code {process.returncode}:\n{' '.join(argv)}\n"
            f"{output.decode(errors='replace')}"
        )
