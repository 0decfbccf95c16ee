"""Runs the process `jobs`: all singleton jobs, each in one process at a time."""

import asyncio
from functools import partial
from typing import Final

from jobs.abandonment import AbandonmentJob
from jobs.checkout_timeouts import CheckoutTimeouts
from jobs.expiry import ExpiryJob
from jobs.history import HistoryJob
from jobs.job import Job
from jobs.leadership import run_as_leader
from jobs.merges import MergeJob
from jobs.outbox_relay import OutboxRelay
from jobs.settings import JobsSettings
from jobs.settlement import Settlement
from runtime.failstop import Misconfigured
from runtime.process import Lifetime, run_process

NAME: Final = "cartstream-jobs"


def all_jobs(settings: JobsSettings) -> list[Job]:
    """All jobs. Making one connects to nothing."""
    jobs: list[Job] = [
        ExpiryJob(settings),
        OutboxRelay(settings),
        Settlement(settings),
        CheckoutTimeouts(settings),
        MergeJob(settings),
        HistoryJob(settings),
    ]
    if settings.abandoned_after_s and settings.links is not None:
        jobs.append(AbandonmentJob(settings, settings.links))
    return jobs


def run_jobs(settings: JobsSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with 75 when only a restart helps."""
    run_process(NAME, settings, partial(run_all, all_jobs(settings), settings))


async def run_all(jobs: list[Job], settings: JobsSettings, lifetime: Lifetime) -> None:
    """Run the jobs until cancelled; ready once each of them has a leader, here or elsewhere.

    Raises Misconfigured.
    """
    has_leader = lifetime.ready_with(dict.fromkeys([job.name for job in jobs], "it has no leader yet"))
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(
                    run_as_leader(job, settings.postgres_address, partial(has_leader, job.name))
                )
    except* Misconfigured as found:
        wrong = found.exceptions[0]
    else:
        return
    raise wrong
