"""Options that several commands have."""

import click

from runtime.environment import give


def _remember(_ctx: click.Context, _param: click.Parameter, value: int | None) -> None:
    if value is not None:
        give("CARTSTREAM_WORKERS", str(value))


workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1, max=64),
    callback=_remember,
    expose_value=False,
    help="Processes that share the partitions (CARTSTREAM_WORKERS, 1). SIGHUP renews them one by one.",
)
