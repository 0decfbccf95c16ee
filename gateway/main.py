"""The gateway process: settings, log, socket, and one or several servers on it."""

import asyncio
import signal
import socket
import sys

import structlog
from sanic.server.socket import bind_socket

from gateway.identity.settings import Mode
from gateway.server.backlog import BACKLOG
from gateway.server.supervisor import metrics_target, run_supervisor
from gateway.settings import PROCESS, GatewaySettings
from runtime import event_loop, tracing
from runtime.failstop import end_at_sigterm, fail_stop_after
from runtime.logs import configure_logging
from runtime.ready import ReadyFile
from runtime.settings import SettingsError, load, shown

log = structlog.get_logger(__name__)


def run() -> None:
    """Serve until SIGTERM or SIGINT.

    Exits with 2 when a setting is wrong, naming it on stderr, and with 75 when the stop takes too long.
    """
    end_at_sigterm()
    try:
        settings = load(GatewaySettings)
        if settings.gateway_workers == 1:
            tracing.start(PROCESS)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    configure_logging(PROCESS, settings)
    log.info("gateway.settings", **shown(settings))
    if settings.mode is Mode.DEVELOPMENT:
        log.warning("gateway.open", mode=settings.mode, meaning="every caller may read and change every cart")
    elif settings.jwt_audience is None:
        log.warning(
            "gateway.any_audience",
            meaning="a JWT that the login has made for another application is a proof here, too",
            instead="set CARTSTREAM_JWT_AUDIENCE",
        )
    listener = _listen(settings)
    if settings.gateway_workers > 1:
        run_supervisor(settings, listener)
    else:
        # One process, one loop: a signal reaches the loop that drains, with no manager in between.
        event_loop.run(_serve(settings, listener))


def _listen(settings: GatewaySettings) -> socket.socket:
    try:
        listener = bind_socket(settings.gateway_host, settings.gateway_port, backlog=BACKLOG)
    except OSError as error:
        sys.stderr.write(
            f"CARTSTREAM_GATEWAY_PORT: {settings.gateway_host}:{settings.gateway_port} cannot be bound "
            f"({error.strerror}); stop what listens there, or choose another port.\n"
        )
        sys.exit(1)
    listener.listen(BACKLOG)
    return listener


async def _serve(settings: GatewaySettings, listener: socket.socket) -> None:
    # A supervisor of workers needs none of it.
    from gateway.app import create_app  # noqa: PLC0415
    from gateway.bootstrap import Container  # noqa: PLC0415
    from gateway.server.serving import Server  # noqa: PLC0415

    container = Container.build(settings)
    server = Server(create_app(container), settings, container.health)

    ready_file = ReadyFile(settings.ready_file)
    target = metrics_target(settings)

    def ready() -> None:
        ready_file.set()
        target.set(settings.own_url)

    def leave() -> None:
        ready_file.clear()
        target.clear()
        if server.is_leaving:
            server.stop()
        else:
            fail_stop_after(settings.longest_stop_s, "process.stop_timed_out")
            server.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    await server.run(listener, ready)


if __name__ == "__main__":
    run()
