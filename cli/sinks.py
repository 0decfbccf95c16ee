"""`cartstream sinks`: the agents that bring what is in Kafka to Postgres, back to Redis, and out by mail."""

import click

from cli.options import workers_option
from sinks.main import run


@click.group("sinks")
def command() -> None:
    """Run a sink; start it again when it exits with 75."""


@command.command("postgres")
@workers_option
def postgres() -> None:
    """Write the newest state of every cart to Postgres."""
    run("postgres")


@command.command("redis")
@workers_option
def redis() -> None:
    """Restore Redis when it has lost carts, and keep it in step with `carts`."""
    run("redis")


@command.command("mail")
@workers_option
def mail() -> None:
    """Send the mails about orders: a confirmation of each, a notice when it is cancelled."""
    run("mail")


@command.command("history")
@workers_option
def history() -> None:
    """Write every operation of every cart to Postgres, once; only where a history is wanted."""
    run("history")
