"""A load balancer's eye: sends requests only to gateways that say they are ready."""

import asyncio
import random
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp

POLL_SECONDS: Final = 0.2
"""Well within the time for which a stopping gateway still serves."""


class Balancer:
    """Asks each gateway for its readiness all the time; `pick` chooses among those that were ready last."""

    def __init__(self, gateways: Sequence[str]) -> None:
        self._gateways = gateways
        self._ready = list(range(len(gateways)))
        self._asking: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)

    def pick(self, randomness: random.Random) -> int:
        """A ready gateway; the first one if none is."""
        return randomness.choice(self._ready) if self._ready else 0

    async def _ask(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            while True:
                answers = await asyncio.gather(*(self._is_ready(session, base) for base in self._gateways))
                self._ready = [index for index, ready in enumerate(answers) if ready]
                await asyncio.sleep(POLL_SECONDS)

    @staticmethod
    async def _is_ready(session: aiohttp.ClientSession, base: str) -> bool:
        try:
            async with session.get(f"{base}/health/ready") as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
