"""The consumer to copy as a process, and what it has in its database."""

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.support.waiting import until
from topics.names import in_kafka

PROGRAM: Final = Path(__file__).parents[2] / "examples" / "consumers" / "carts_in_sqlite.py"
MOST_RECORDS: Final = 200
"""So many records it may take at the most before it is killed again."""


class Consumer:
    """The consumer of a broker with a database file. Its log is beside that."""

    def __init__(self, bootstrap: str, database: Path) -> None:
        self._command: Final = [
            sys.executable,
            str(PROGRAM),
            "--bootstrap",
            bootstrap,
            "--prefix",
            in_kafka(""),
        ]
        self._database: Final = database
        self.log: Final = database.with_suffix(".log")
        self.kills = 0

    async def once(self) -> None:
        """Let it take all that there is now."""
        process = await self._start("--once")
        code = await process.wait()
        assert code == 0, self.log.read_text()[-4000:]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it run meanwhile."""
        process = await self._start()
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def killed_again_and_again(self, seed: int) -> AsyncIterator[None]:
        """Kill -9 it meanwhile, each time it has taken some records; one that gives up is started again."""
        killing = asyncio.create_task(self._kill(random.Random(seed)))
        try:
            yield
        finally:
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing

    def carts(self) -> dict[str, dict[str, Any]]:
        """What it shows of every cart."""
        return {
            cart_id: json.loads(shown) for cart_id, shown in self._rows("SELECT cart_id, shown FROM carts")
        }

    def taken(self) -> int:
        """The sum of its positions."""
        return sum(position for (position,) in self._rows("SELECT next FROM positions"))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if not self._database.exists():
            return []
        connection = sqlite3.connect(self._database, timeout=60)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # it was killed before it had made its tables
        finally:
            connection.close()

    async def _kill(self, randomness: random.Random) -> None:
        while True:
            process = await self._start()
            goal = self.taken() + randomness.randint(1, MOST_RECORDS)
            try:
                await until(partial(self._is_due, process, goal), "records for the consumer", 3600, 0.01)
                self.kills += process.returncode is None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _is_due(self, process: asyncio.subprocess.Process, goal: int) -> bool:
        return process.returncode is not None or self.taken() >= goal

    async def _start(self, *options: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._command, "--database", str(self._database), *options, stdout=log, stderr=log
            )
