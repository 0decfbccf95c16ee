"""Several workers of one group on one host, under a supervisor."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from delivery.settings import DeliverySettings
from runtime.environment import with_variables
from runtime.failstop import Misconfigured, end_misconfigured
from runtime.logs import configure_logging
from runtime.settings import SettingsError, shown
from runtime.supervision.link import SUPERVISED
from runtime.supervision.supervisor import Renewal, Supervisor, Workers, inherited_environment
from runtime.targets import MetricsTarget
from topics.groups import group_of

log = structlog.get_logger(__name__)

_STOP_MARGIN_S: Final = 5.0
"""A worker ends itself when it takes too long to stop; this is for its way there."""
_LAST_PORT: Final = 65535


def run_workers(
    command: tuple[str, ...], settings: DeliverySettings, partitions: int, run: Callable[[], None]
) -> None:
    """Do `run` here, or with several `workers` supervise that many processes `cartstream <command>`.

    Raises SettingsError for more workers than partitions: the others could only wait.
    """
    if settings.workers == 1:
        run()
        return
    if settings.workers > partitions:
        raise SettingsError(
            f"CARTSTREAM_WORKERS: {settings.workers} workers cannot share {partitions} partitions. "
            f"A right value: CARTSTREAM_WORKERS={partitions}"
        )
    require_ports(settings, settings.workers)
    asyncio.run(supervise(command, settings, settings.workers))


def require_ports(settings: DeliverySettings, workers: int) -> None:
    """Raises SettingsError if a supervisor and so many workers cannot have a port for probes each."""
    if settings.metrics_port and settings.metrics_port + workers > _LAST_PORT:
        raise SettingsError(
            f"CARTSTREAM_METRICS_PORT: a supervisor and {workers} workers need as many ports from "
            f"{settings.metrics_port} on. A right value: CARTSTREAM_METRICS_PORT=9400"
        )


async def supervise(
    command: tuple[str, ...],
    settings: DeliverySettings,
    count: int,
    meanwhile: Callable[[Supervisor], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Keep `count` processes `cartstream <command>` until SIGTERM; `meanwhile` may change their number."""
    name = " ".join(command)
    configure_logging(group_of(name), settings)
    workers = Workers(
        name=name,
        count=count,
        argv=(sys.executable, "-m", "cli", *command),
        environment=lambda number: with_variables(
            inherited_environment("CARTSTREAM_WORKERS"),
            worker_environment(settings, number, socket.gethostname()),
        ),
        # Two with one instance id would be one too many.
        renewal=Renewal.OLD_FIRST,
        stop_s=settings.stop_timeout_s + _STOP_MARGIN_S,
        ready_file=settings.ready_file,
    )
    supervisor = Supervisor(workers)
    try:
        address = supervisor.serve_probes(settings.probes_host, settings.metrics_port)
    except Misconfigured as error:
        end_misconfigured(workers.name, error)
    log.info("process.starting", app=workers.name, probes=address, settings=shown(settings))
    target = MetricsTarget(settings.metrics_targets, group_of(name), f"{settings.worker}-supervisor")
    target.set(address)
    await supervisor.run(meanwhile(supervisor) if meanwhile else None)
    target.clear()


def worker_environment(settings: DeliverySettings, number: int, host: str) -> dict[str, str]:
    """What makes worker `number` differ from its siblings, and from those of other hosts."""
    environment = {
        SUPERVISED: "true",
        "CARTSTREAM_GROUP_INSTANCE_ID": f"{settings.group_instance_id or host}-{number}",
        "CARTSTREAM_DATADIR": str(settings.datadir / f"worker-{number}"),
    }
    if settings.metrics_port:
        environment["CARTSTREAM_METRICS_PORT"] = str(settings.metrics_port + 1 + number)
    return environment
