"""`cartstream stop`: ends the stack that `cartstream up` runs elsewhere."""

import os
import signal
import sys
import time
from pathlib import Path

import click

from cli.status import NOTHING_RUNS
from devstack.settings import StackSettings
from devstack.status import is_alive, read_status
from runtime.settings import load

STOP_SECONDS = 60.0


@click.command("stop")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As for `cartstream up`.")
def command(data_dir: Path | None) -> None:
    """Stop the stack of this data folder and wait until everything has ended. Exits 3 when nothing runs."""
    folder = (data_dir or load(StackSettings).data_dir).resolve()
    status = read_status(folder)
    if status is None:
        click.echo(f"nothing runs in {folder}")
        sys.exit(NOTHING_RUNS)
    os.kill(status.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while is_alive(status.pid, status.created):
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"the supervisor (pid {status.pid}) has not ended after {STOP_SECONDS:g} s; "
                f"its components' logs are in {folder / 'logs'}"
            )
        time.sleep(0.05)
    click.echo("stopped")
