"""Runs the process `jobs`: every job, each done by one process at a time."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from jobs.checkout_timeouts import CheckoutTimeouts
from jobs.expiry import ExpiryJob
from jobs.job import Job
from jobs.leadership import run_as_leader
from jobs.outbox_relay import OutboxRelay
from jobs.settings import JobsSettings
from jobs.settlement import Settlement
from runtime.process import run_process
from topics.registry import CART_CHANGED, DEAD_LETTERS, ORDERS, PRODUCTS

NAME: Final = "cartstream-jobs"

TOPICS: Final = (CART_CHANGED, PRODUCTS, ORDERS, DEAD_LETTERS)
"""What the jobs write to."""


def all_jobs(settings: JobsSettings) -> list[Job]:
    """All of them. Making one connects to nothing."""
    return [ExpiryJob(settings), OutboxRelay(settings), Settlement(settings), CheckoutTimeouts(settings)]


def run_jobs(settings: JobsSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with 75 when only a new start helps."""
    run_process(NAME, settings, partial(run_all, all_jobs(settings), settings))


async def run_all(jobs: list[Job], settings: JobsSettings, ready: Callable[[], None]) -> None:
    """Attend to the jobs until cancelled; `ready` once each of them is done, here or elsewhere."""
    url = settings.postgres_url.get_secret_value()
    waiting = {job.name for job in jobs}

    def looked_after(name: str) -> None:
        if waiting:
            waiting.discard(name)
            if not waiting:
                ready()

    work: list[Any] = [run_as_leader(job, url, partial(looked_after, job.name)) for job in jobs]
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
