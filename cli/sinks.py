"""`cartstream sinks`: the agents that bring carts from Kafka to Postgres and back to Redis."""

import click

from sinks.main import run


@click.group("sinks")
def command() -> None:
    """Run a sink; start it again when it exits with 75."""


@command.command("postgres")
def postgres() -> None:
    """Write the newest state of every cart to Postgres."""
    run("postgres")


@command.command("redis")
def redis() -> None:
    """Restore Redis when it has lost carts, and keep it in step with `carts`."""
    run("redis")
