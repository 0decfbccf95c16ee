"""`cartstream up`: the whole stack in the foreground, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import click
from rich.console import Console

from devstack.components import COMPONENTS, usual
from devstack.console import ConsoleReporter, Trouble
from devstack.errors import StackError
from devstack.settings import StackSettings
from devstack.spec import RestartPolicy
from devstack.supervisor import Supervisor
from runtime.settings import load

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("up")
@click.option(
    "--only", metavar="NAMES", help=f"Some components, separated by commas, of: {', '.join(COMPONENTS)}."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Data, logs and status [CARTSTREAM_DATA_DIR, .local]."
)
@click.option(
    "--port-base",
    type=click.IntRange(1, 65528),
    help="All ports in a row from here instead of the usual ones.",
)
@click.option("--logs", is_flag=True, help="Show every line that the components print, not only trouble.")
def command(only: str | None, data_dir: Path | None, port_base: int | None, logs: bool) -> None:
    """Start Redis, Postgres, Kafka and the product's processes here; stop them with Ctrl-C.

    Needs neither root nor Docker. Data is kept between starts.
    """
    settings = load(StackSettings)
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if port_base:
        settings = settings.with_port_base(port_base)
    names = [name.strip() for name in only.split(",")] if only else usual(settings)
    try:
        asyncio.run(_serve(settings, names, all_lines=logs))
    except StackError as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: StackSettings, names: list[str], *, all_lines: bool) -> None:
    reporter = ConsoleReporter(names, Console())
    supervisor = Supervisor(
        settings, names, RestartPolicy.ALWAYS, reporter if all_lines else Trouble(reporter)
    )
    stopping = _stop_event(supervisor)
    began = time.monotonic()
    await supervisor.open()
    try:
        starting = asyncio.create_task(supervisor.start())
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait([starting, asked], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        await starting
        logs = settings.data_dir / "logs"
        reporter.table(supervisor.components.values(), time.monotonic() - began, logs)
        await asked
    finally:
        await supervisor.close()


def _stop_event(supervisor: Supervisor) -> asyncio.Event:
    """Set by the first signal to stop; the second one does not wait any more."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            supervisor.kill()
        stopping.set()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping
