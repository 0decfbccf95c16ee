"""`cartstream streams`: the agents that fold the stream of changes and carry merges on."""

import click

from cli.options import workers_option
from streams.main import run_compaction, run_merges


@click.group("streams")
def command() -> None:
    """Run a stream agent; start it again when it exits with 75."""


@command.command("compaction")
@workers_option
def compaction() -> None:
    """Fold `cart-changed` into the compacted topic `carts`."""
    run_compaction()


@command.command("merges")
@workers_option
def merges() -> None:
    """Carry on the merges that `cart-merges` names."""
    run_merges()
