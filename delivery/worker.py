"""Runs a Faust app as a process: logs, metrics, readiness, graceful stop, exit code."""

from __future__ import annotations

import asyncio
import sys
from typing import Final, NoReturn

import structlog
from aiokafka.errors import KafkaError

from delivery.app import DeliveryApp
from delivery.consumer import consumer_of
from delivery.errors import StoreInUse, StoreUnusable
from delivery.liveness import Liveness, stop_when_frozen
from delivery.stores import cannot_be_used
from runtime import event_loop, tracing
from runtime.ending import Ending, told
from runtime.failstop import EXIT_RESTART, end, fail_stop
from runtime.kafka.membership import leave_group
from runtime.logs import configure_logging
from runtime.process import Lifetime, begin, exit_as_told

log = structlog.get_logger(__name__)


_PARTITIONS: Final = "partitions"
"""The check of a worker that has not begun."""


def run_worker(app: DeliveryApp) -> None:
    """Run until SIGTERM or SIGINT, then stop gracefully and return; before it is ready, end at once with 0.

    Exits with code 75 when only a restart helps: a lost changelog record, a failed agent, a stalled
    partition, a crashed consumer, a stop that takes longer than `stop_timeout_s`, a folder that another
    process still has; and after SIGHUP, which asks for a new process. Exits with 1 when another process has
    its instance id, and when its folder cannot be used.
    """
    configure_logging(app.conf.id, app.settings)
    tracing.start(app.conf.id)
    event_loop.run(_run(app))
    tracing.stop()
    exit_as_told()


def _take_folder(app: DeliveryApp) -> None:
    folder = app.settings.datadir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in app.changelog_tables():
            table.open()
    except StoreInUse as error:
        # Perhaps the one before this one, which is about to end.
        sys.stderr.write(f"{app.conf.id}: {error}\n")
        sys.exit(EXIT_RESTART)
    except StoreUnusable as error:
        sys.exit(f"{app.conf.id}: {error}")
    except OSError as error:
        sys.exit(f"{app.conf.id}: {cannot_be_used(folder, error)}")


async def _run(app: DeliveryApp) -> None:
    settings = app.settings
    lifetime = await begin(app.conf.id, settings)
    lifetime.checks.failed(_PARTITIONS, "it waits for the group, or reads what its tables have missed")
    if lifetime.stop.is_set():
        _end_early(app)
    # Not before its turn: until then the worker before it has the folder.
    _take_folder(app)
    stop = asyncio.create_task(lifetime.stop.wait(), name="stop")
    at_work = asyncio.Event()
    started = asyncio.create_task(app.start(), name="start")
    endless = {
        asyncio.create_task(app.crashed_for_good(), name="faust"),
        asyncio.create_task(_work(app, lifetime, at_work), name="work"),
        asyncio.create_task(stop_when_frozen(settings.session_timeout_s), name="frozen"),
    }
    running = {stop, started, *endless}
    while not stop.done():
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            # A cancelled task raises when it is asked for its exception: it would end this one, and leave a
            # process that does nothing and waits for Faust's thread.
            failure = "cancelled" if task.cancelled() else task.exception()
            if task in endless or failure:
                reason = app.crash_reason or failure
                fail_stop("process.crashed", part=task.get_name(), reason=repr(reason))
    if not at_work.is_set():
        # There is nothing to finish, and a Faust that is still starting stops late or never: it waits for the
        # group, for the replay, and for a thread that may wait for this one.
        if told() is Ending.FOR_GOOD:
            await leave_group(settings, consumer_of(app).member)
        _end_early(app)
    await _stop(app, lifetime)
    for task in running:
        task.cancel()


def _end_early(app: DeliveryApp) -> NoReturn:
    log.info("process.stopped", app=app.conf.id)
    end(EXIT_RESTART if told() is Ending.RENEWED else 0)


async def _work(app: DeliveryApp, lifetime: Lifetime, at_work: asyncio.Event) -> None:
    """After recovery: report ready, then watch liveness."""
    await app.recovered()
    at_work.set()
    lifetime.checks.ok(_PARTITIONS)
    lifetime.ready()
    log.info("process.ready", app=app.conf.id, partitions=len(consumer_of(app).ledger.partitions))
    await Liveness(app).watch(lifetime.checks)


async def _stop(app: DeliveryApp, lifetime: Lifetime) -> None:
    """Finish what is in progress, commit it, answer what others wrote, stop Faust and close the stores."""
    lifetime.not_ready()
    consumer = consumer_of(app)
    if partitions := set(consumer.ledger.partitions):
        await consumer.ledger.settle(partitions)
        await consumer.commit()
        for table in app.changelog_tables():
            try:
                # Who comes next may take its time, and readers would have an older state until then.
                await table.answer_foreign_writes()
            except (KafkaError, TimeoutError) as error:
                log.warning("table.foreign_writes_unknown", table=table.name, error=repr(error))
    await app.stop()
    for table in app.changelog_tables():
        table.close()
    log.info("process.stopped", app=app.conf.id)
