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
        self._ready = [True for _ in gateways]
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
        ready = [index for index, is_ready in enumerate(self._ready) if is_ready]
        return randomness.choice(ready) if ready else 0

    async def _ask(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            while True:
                await asyncio.gather(
                    *(self._ask_one(session, index, base) for index, base in enumerate(self._gateways))
                )
                await asyncio.sleep(POLL_SECONDS)

    async def _ask_one(self, session: aiohttp.ClientSession, index: int, base: str) -> None:
        try:
            async with session.get(f"{base}/health/ready") as response:
                self._ready[index] = response.status == HTTPStatus.OK
        except TimeoutError:
            pass  # on a busy machine; it says nothing of the gateway, which stays what it was
        except (aiohttp.ClientError, OSError):
            self._ready[index] = False
