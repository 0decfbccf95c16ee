"""`cartstream restore`: shows how far the restore agent is; can ask it to restore partitions again."""

import asyncio
import time

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sinks.errors import SettingsWrong
from sinks.redis.progress import Report, read
from sinks.settings import load
from store import CartStore, Layout, PipelinedClient, RedisSettings, StoreError

POLL_SECONDS = 0.25
SILENT_SECONDS = 10.0
"""An agent that works shows its progress each second."""


@click.command("restore")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    help="Restore this partition again; may be repeated. Requests to its carts wait until it is done.",
)
@click.option("--all", "everything", is_flag=True, help="Restore all partitions again.")
def command(partitions: tuple[int, ...], everything: bool) -> None:
    """Wait until Redis (CARTSTREAM_REDIS_URL) is restored, showing progress.

    The restore agent (`cartstream sinks redis`) does the work; it begins by itself when Redis has lost data.
    """
    try:
        settings = load(RedisSettings)
        if wrong := [partition for partition in partitions if partition >= settings.partitions]:
            raise click.BadParameter(
                f"there is no partition {wrong[0]}: CARTSTREAM_PARTITIONS says {settings.partitions}"
            )
        again = set(range(settings.partitions)) if everything else set(partitions)
        asyncio.run(_restore(settings, again))
    except (SettingsWrong, StoreError) as error:
        raise click.ClickException(str(error)) from error


async def _restore(settings: RedisSettings, again: set[int]) -> None:
    layout = Layout(settings.partitions)
    async with PipelinedClient(settings, name="cartstream-restore") as client:
        store = CartStore(client, layout)
        for partition in again:
            await client.execute("DEL", layout.of_partition(partition).ready)
        await _show(client, layout, store)


async def _show(client: PipelinedClient, layout: Layout, store: CartStore) -> None:
    every = set(range(layout.partitions))
    missing = every - await store.ready_partitions()
    if not missing:
        click.echo(f"all {layout.partitions} partitions are ready")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[carts]} carts, {task.fields[pace]}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        bars = {
            partition: shown.add_task(f"partition {partition}", total=100, carts=0, pace=0)
            for partition in sorted(missing)
        }
        heard = time.monotonic()
        while missing:
            for partition in sorted(missing):
                await store.wish(partition)
                if report := await read(client, layout, partition):
                    heard = time.monotonic()
                    _update(shown, bars[partition], report)
            if time.monotonic() - heard > SILENT_SECONDS:
                shown.console.print(
                    "No restore agent is at work: start `cartstream sinks redis`. Waiting ..."
                )
                heard = time.monotonic()
            await asyncio.sleep(POLL_SECONDS)
            ready = await store.ready_partitions()
            for partition in missing & ready:
                shown.update(bars[partition], completed=100)
            missing -= ready
    click.echo(f"all {layout.partitions} partitions are ready")


def _update(shown: Progress, bar: TaskID, report: Report) -> None:
    shown.update(bar, completed=report.percent, carts=report.carts, pace=int(report.carts_per_s))
