"""Several gateway workers on one socket.

Workers inherit the listening socket, so connections wait in its queue and not in a process: one that ends
takes none with it.
"""

import asyncio
import socket
import sys
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from gateway.server.metrics_folder import metrics_folder
from gateway.settings import PROCESS, GatewaySettings
from runtime.supervision.supervisor import Renewal, Supervisor, Workers, inherited_environment
from runtime.targets import MetricsTarget

_START_S: Final = 60.0


def run_supervisor(settings: GatewaySettings, listener: socket.socket) -> None:
    """Serve with `gateway_workers` processes on this socket until SIGTERM or SIGINT."""
    with metrics_folder() as folder:
        environment = {**inherited_environment(), "PROMETHEUS_MULTIPROC_DIR": folder}

        def forget(pid: int) -> None:
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]

        workers = Workers(
            name="gateway",
            count=settings.gateway_workers,
            argv=(sys.executable, "-m", "gateway.server.worker", str(listener.fileno())),
            environment=lambda _: environment,
            renewal=Renewal.NEW_FIRST,
            start_s=_START_S,
            stop_s=settings.longest_stop_s,
            descriptors=(listener.fileno(),),
            any_will_do=True,
            ready_file=settings.ready_file,
            ended=forget,
        )
        target = metrics_target(settings)
        target.set(settings.own_url)
        asyncio.run(Supervisor(workers).run())
        target.clear()


def metrics_target(settings: GatewaySettings) -> MetricsTarget:
    """How Prometheus finds a gateway: one target, however many workers it has."""
    return MetricsTarget(settings.metrics_targets, PROCESS, f"{socket.gethostname()}:{settings.gateway_port}")
