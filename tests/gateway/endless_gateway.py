"""A gateway that would never have stopped: `python -m tests.gateway.endless_gateway`."""

import asyncio

import gateway.settings
from gateway.main import run
from gateway.outbox.publisher import ChangePublisher


async def _stop(_: ChangePublisher) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    ChangePublisher.stop = _stop  # type: ignore[assignment, method-assign]
    gateway.settings.CLOSING_S = 0.2  # type: ignore[misc]
    run()
