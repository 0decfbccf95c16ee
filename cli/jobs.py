"""`cartstream jobs`: what one process at a time has to do."""

import click

from jobs.main import run_jobs


@click.command("jobs")
def command() -> None:
    """Run the singleton jobs: run two of these, and the other one takes over.

    Expiry of carts, the Postgres outbox, settlement of orders, checkout timeouts, merges, the
    partitions of the history. Start it again when it exits with 75.
    """
    run_jobs()
