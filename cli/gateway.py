"""`cartstream gateway`: the HTTP gateway."""

import click

from gateway.main import run


@click.command("gateway")
def command() -> None:
    """Run the HTTP gateway (CARTSTREAM_GATEWAY_HOST, CARTSTREAM_GATEWAY_PORT); SIGTERM drains it."""
    run()
