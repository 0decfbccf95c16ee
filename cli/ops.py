"""`cartstream ops`: the operations page."""

import click

from ops.page.main import run
from ops.page.settings import PageSettings
from runtime.settings import load


@click.command("ops")
def command() -> None:
    """Serve the operations page: what every process and store is doing, and the dead letters.

    It answers on CARTSTREAM_OPS_HOST, CARTSTREAM_OPS_PORT (127.0.0.1:8030) and reads the metrics of
    CARTSTREAM_OPS_TARGETS. Beyond this host it needs CARTSTREAM_OPS_TOKEN.
    """
    run(load(PageSettings))
