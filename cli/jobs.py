"""`cartstream jobs`: what one process at a time has to do."""

import click

from jobs.main import run_jobs


def _refuse(_ctx: click.Context, _param: click.Parameter, value: int | None) -> None:
    if value is not None:
        raise click.BadParameter(
            "jobs have no partitions to share, each runs in one process at a time: start a second "
            "`cartstream jobs`, best on another host, and it takes over when the first one dies"
        )


@click.command("jobs")
@click.option("--workers", type=int, hidden=True, expose_value=False, callback=_refuse)
def command() -> None:
    """Run the singleton jobs: run two of these, and the other one takes over.

    Expiry of carts, the Postgres outbox, settlement of orders, checkout timeouts, merges, the
    partitions of the history. Start it again when it exits with 75.
    """
    run_jobs()
