"""`cartstream streams`: the agents that fold the stream of changes."""

import click

from streams.main import run_compaction, run_upkeep


@click.group("streams")
def command() -> None:
    """Run a stream agent; start it again when it exits with 75."""


@command.command("compaction")
def compaction() -> None:
    """Fold `cart-changed` into the compacted topic `carts`."""
    run_compaction()


@command.command("upkeep")
def upkeep() -> None:
    """Do what one process at a time has to do; run two, and the other one takes over."""
    run_upkeep()
