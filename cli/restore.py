"""`cartstream restore`: Redis from Kafka, by the restore agent; as a last resort Kafka from Postgres."""

import asyncio
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ops.progress import bars
from ops.restoring import cold_partitions, follow_restore
from ops.running import chosen, run
from ops.running import settings as ops_settings
from ops.seeding import Plan, restore_from_postgres
from runtime.settings import SettingsError, load
from store.redis import RedisSettings, StoreError

WHAT_BECAME = {
    Plan.SEED: "rows to seed into cart-changed",
    Plan.THERE: "rows that Kafka has already",
    Plan.DELETED: "rows of carts that were deleted since",
    Plan.CONFLICT: "rows refused: Kafka has begun their carts anew, in the union their history would be lost",
    Plan.DIFFERS: "rows refused: Kafka has another cart of the same version (`cartstream verify --repair`)",
    Plan.TOO_LARGE: "rows refused: too large for cart-changed",
    Plan.UNREADABLE: "rows refused: nobody can read their state, or Kafka's",
    Plan.NOT_FOLDED: "seeds that compaction has not folded: see that it runs, and `cartstream dlq list`",
}


@click.command("restore")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    help="Restore this partition again; may be repeated. Requests to its carts wait until it is done.",
)
@click.option("--all", "everything", is_flag=True, help="Restore all partitions again.")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["postgres"]),
    help="Bring carts from Postgres back into Kafka: the last resort, when its topics are lost.",
)
@click.option("--dry-run", is_flag=True, help="With --from: only say what would be done.")
def command(partitions: tuple[int, ...], origin: str | None, *, everything: bool, dry_run: bool) -> None:
    """Wait until Redis (CARTSTREAM_REDIS_URL) is restored, showing progress.

    The restore agent (`cartstream sinks redis`) does the work; it begins by itself when Redis has lost data.

    With --from postgres every row that Kafka does not know is published as a change that carries the whole
    cart, which compaction folds like any other: it must run. Ends with 0 if Kafka has every row then, else
    with 1 and the carts' names. Stop gateways and sinks first. Doing it again is safe.
    """
    if origin is not None:
        _from_postgres(partitions, dry_run=dry_run)
        return
    if dry_run:
        raise click.UsageError("--dry-run goes with --from postgres")
    try:
        settings = load(RedisSettings)
        if wrong := [partition for partition in partitions if partition >= settings.partitions]:
            raise click.BadParameter(
                f"there is no partition {wrong[0]}: CARTSTREAM_PARTITIONS says {settings.partitions}"
            )
        again = set(range(settings.partitions)) if everything else set(partitions)
        asyncio.run(_restore(settings, again))
    except (SettingsError, StoreError) as error:
        raise click.ClickException(str(error)) from error


def _from_postgres(partitions: tuple[int, ...], *, dry_run: bool) -> None:
    environment = ops_settings()
    asked = chosen(environment, partitions)
    with bars() as shown:
        seeded = run(environment, restore_from_postgres(environment, asked, shown, dry_run=dry_run))
    for what, count in seeded.counts.items():
        if count:
            click.echo(f"{count:>8} {WHAT_BECAME[what]}")
    for what, cart in seeded.refused:
        click.echo(f"refused ({what}): {cart}", err=True)
    if dry_run:
        click.echo("nothing was published: it was a dry run")
    if seeded.refused:
        sys.exit(1)


async def _restore(settings: RedisSettings, again: set[int]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[carts]} carts, {task.fields[pace]}/s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bars: dict[int, TaskID] = {}
        async for moment in follow_restore(settings, again):
            for partition, report in moment.restoring.items():
                if partition not in bars:
                    bars[partition] = shown.add_task(f"partition {partition}", total=100, carts=0, pace=0)
                if report is not None:
                    shown.update(
                        bars[partition],
                        completed=report.percent,
                        carts=report.carts,
                        pace=int(report.carts_per_s),
                    )
            for partition in bars.keys() - moment.restoring.keys():
                shown.update(bars[partition], completed=100)
            if moment.is_silent:
                shown.console.print(
                    "No restore agent is at work: start `cartstream sinks redis`. Waiting ..."
                )
    click.echo(f"all {settings.partitions} partitions are ready")
    if cold := await cold_partitions(settings):
        click.echo(
            f"{len(cold)} of them are being warmed: some carts that nobody has asked for yet are only in "
            "their rows"
        )
