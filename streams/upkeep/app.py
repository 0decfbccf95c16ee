"""Runs the process `streams upkeep`: every duty, each done by one process at a time."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from delivery import run_process
from streams.upkeep.ageing import Ageing
from streams.upkeep.checkout_timeouts import CheckoutTimeouts
from streams.upkeep.duty import Duty
from streams.upkeep.leadership import attend
from streams.upkeep.relay import Relay
from streams.upkeep.settings import UpkeepSettings
from streams.upkeep.settlement import Settlement
from topics.registry import CART_CHANGED, DEAD_LETTERS, ORDERS, PRODUCTS

NAME: Final = "cartstream-upkeep"

TOPICS: Final = (CART_CHANGED, PRODUCTS, ORDERS, DEAD_LETTERS)
"""What the duties write to."""

_SECRET: Final = {"redis_url", "postgres_url", "kafka_sasl_password"}


def duties(settings: UpkeepSettings) -> list[Duty]:
    """All of them. Making one connects to nothing."""
    return [Ageing(settings), Relay(settings), Settlement(settings), CheckoutTimeouts(settings)]


def run_upkeep(settings: UpkeepSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with 75 when only a new start helps."""
    shown = settings.model_dump(mode="json", exclude=_SECRET)
    run_process(NAME, settings, partial(attend_all, duties(settings), settings), shown=shown)


async def attend_all(all_duties: list[Duty], settings: UpkeepSettings, ready: Callable[[], None]) -> None:
    """Attend to the duties until cancelled; `ready` once each of them is done, here or elsewhere."""
    url = settings.postgres_url.get_secret_value()
    unattended = {duty.name for duty in all_duties}

    def attended(name: str) -> None:
        if unattended:
            unattended.discard(name)
            if not unattended:
                ready()

    work: list[Any] = [attend(duty, url, partial(attended, duty.name)) for duty in all_duties]
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
