"""The gateway process: settings, log, server."""

import sys

import structlog

from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.settings import GatewaySettings, SettingsError

log = structlog.get_logger(__name__)


def run() -> None:
    """Serve until SIGTERM or SIGINT. Exits with 2 when a setting is wrong, naming it on stderr."""
    try:
        settings = GatewaySettings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    configure_logging()
    log.info("gateway.settings", **settings.shown())
    log.warning("gateway.open", mode="development", meaning="every caller may read and change every cart")
    app = create_app(settings)
    # One process, one loop: a signal reaches the loop that drains, with no manager in between.
    app.run(
        host=settings.gateway_host,
        port=settings.gateway_port,
        single_process=True,
        access_log=settings.access_log,
        motd=False,
    )


if __name__ == "__main__":
    run()
