"""`cartstream rebuild`: writes Kafka's carts into Postgres again."""

from typing import Final

import click

from ops.progress import bars
from ops.rebuild import rebuild
from ops.running import chosen, run, settings

EXAMPLES: Final = 10


@click.command("rebuild")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    help="Only this partition; may be repeated.",
)
def command(partitions: tuple[int, ...]) -> None:
    """Write all of `carts` into Postgres again, as after Postgres was restored from a backup.

    Guarded like the Postgres sink, which may run meanwhile: newer rows stay, doing it again changes nothing.
    """
    environment = settings()
    asked = chosen(environment, partitions)
    address = environment.postgres_address
    with bars() as shown:
        rebuilt = run(environment, rebuild(environment, address, asked, environment.partitions, shown))
    click.echo(f"{rebuilt.records} records of carts, {rebuilt.written} rows written or deleted")
    if rebuilt.left_out:
        click.echo(f"{len(rebuilt.left_out)} left out; see `cartstream dlq list --topic carts`", err=True)
        for sentence in rebuilt.left_out[:EXAMPLES]:
            click.echo(f"  {sentence}", err=True)
