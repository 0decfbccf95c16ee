"""`cartstream gateway`: the HTTP gateway."""

import click

from gateway.main import run
from runtime.environment import give


@click.command("gateway")
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=64),
    help="Processes that share the port (CARTSTREAM_GATEWAY_WORKERS, 1).",
)
def command(workers: int | None) -> None:
    """Run the HTTP gateway (CARTSTREAM_GATEWAY_HOST, CARTSTREAM_GATEWAY_PORT).

    SIGTERM drains it. With several workers SIGHUP reloads them one by one, without a failed request.
    """
    if workers is not None:
        give("CARTSTREAM_GATEWAY_WORKERS", str(workers))
    run()
