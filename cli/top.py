"""`cartstream top`: the overview of the operations page, in a terminal."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import click
from rich.console import Group
from rich.live import Live

from cli.overview import shown
from cli.tables import Plain, print_table
from devstack.files import targets_folder
from devstack.settings import StackSettings
from devstack.status import read_status
from ops.overview.collector import EVERY_S, Collector
from ops.overview.document import Overview
from ops.overview.settings import OverviewSettings
from ops.running import print_json
from runtime.settings import load

_REFRESHES_PER_S: Final = 1


@click.command("top")
@click.option("--once", is_flag=True, help="Look once, print, end.")
@click.option("--json", "as_json", is_flag=True, help="Look once, print one JSON document, end.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As for `cartstream up`.")
def command(once: bool, as_json: bool, data_dir: Path | None) -> None:
    """Show what every process and store is doing, again and again; Ctrl-C ends it.

    Without CARTSTREAM_OPS_TARGETS and CARTSTREAM_METRICS_TARGETS it looks at the processes that
    `cartstream up` has started here.
    """
    settings = with_stack(load(OverviewSettings), (data_dir or load(StackSettings).data_dir).resolve())
    if as_json:
        print_json(asyncio.run(looked_once(settings)))
    elif once:
        print_table(shown(asyncio.run(looked_once(settings))))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_look_on(settings))


def with_stack(settings: OverviewSettings, data_dir: Path) -> OverviewSettings:
    """The settings, with the processes of the stack in that folder if they name none."""
    if settings.ops_targets or settings.metrics_targets or read_status(data_dir) is None:
        return settings
    return settings.model_copy(update={"metrics_targets": targets_folder(data_dir)})


async def looked_once(settings: OverviewSettings) -> Overview:
    """The overview after one look, with two at the processes: rates need them."""
    async with Collector(settings) as collector:
        await collector.look_at_stores()
        await asyncio.gather(collector.look_at_kafka(), collector.look_at_letters())
        await collector.look_at_stores()
        return collector.overview()


async def _look_on(settings: OverviewSettings) -> None:
    async with Collector(settings) as collector:
        looking = asyncio.create_task(collector.run())
        try:
            with Live(Group(), screen=True, refresh_per_second=_REFRESHES_PER_S) as live:
                while not looking.done():
                    live.update(Plain(shown(collector.overview())), refresh=True)
                    await asyncio.sleep(EVERY_S)
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
