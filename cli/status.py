"""`cartstream status`: what runs, from the status file of the data folder."""

import sys
import time
from pathlib import Path

import click
import msgspec
from rich.text import Text

from cli.tables import new_table, print_table
from devstack.readiness import weaknesses
from devstack.settings import StackSettings
from devstack.spec import NO_ADDRESS
from devstack.status import StackStatus, read_status
from runtime.settings import load

NOT_READY = 1
NOTHING_RUNS = 3
COLOURS = {"ready": "green", "failed": "red", "stopped": "red"}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As for `cartstream up`.")
def command(as_json: bool, data_dir: Path | None) -> None:
    """Show what the stack is doing, and what degrades the gateway.

    Exits 0 when all is ready, 1 when something is not, 3 when nothing runs.
    """
    folder = (data_dir or load(StackSettings).data_dir).resolve()
    status = read_status(folder)
    if status is None:
        click.echo(
            '{"components":[]}' if as_json else f"nothing runs in {folder}: `cartstream up` starts the stack"
        )
        sys.exit(NOTHING_RUNS)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(status)).decode())
    else:
        _show(status)
    sys.exit(0 if status.ready else NOT_READY)


def _show(status: StackStatus) -> None:
    table = new_table("component", "state", "address", "pid", "restarts", "for")
    table.columns[2].no_wrap = True
    for each in status.components:
        table.add_row(
            each.name,
            Text(each.state, style=COLOURS.get(each.state, "yellow")),
            each.probes or each.address if each.address == NO_ADDRESS else each.address,
            str(each.pid or "-"),
            str(each.restarts),
            _lasted(time.time() - each.since),
        )
    print_table(table)
    for each in status.components:
        if each.name == "gateway" and each.state == "ready":
            for weakness in weaknesses(each.address):
                click.echo(f"gateway is degraded: {weakness}")
    click.echo(f"supervisor: pid {status.pid}")


def _lasted(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
