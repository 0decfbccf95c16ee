"""A supervisor whose workers note what they do: `python -m tests.runtime.supervised FOLDER RENEWAL COUNT`.

Its worker count follows the file `count`, once there is one.
A worker that finds the file `broken`, or `broken-NUMBER`, ends with 3 before it is ready. One that finds
`late-NUMBER` loads until that is gone.
"""

import asyncio
import os
import sys
from pathlib import Path

from runtime.supervision.link import Command, SupervisorLink
from runtime.supervision.supervisor import Renewal, Supervisor, Workers, inherited_environment

WORKER = "worker"


def note(folder: Path, what: str) -> None:
    """Append a line; one write, so that those of several processes do not mix."""
    with (folder / "notes").open("a") as notes:
        notes.write(f"{os.environ.get('NUMBER', '-')} {os.getpid()} {what}\n")


async def supervise(folder: Path, renewal: Renewal, count: int) -> None:
    """Keep `count` workers."""
    workers = Workers(
        name="noting",
        count=count,
        argv=(sys.executable, "-m", "tests.runtime.supervised", str(folder), renewal.name, WORKER),
        environment=lambda number: inherited_environment() | {"NUMBER": str(number)},
        renewal=renewal,
        stop_s=20,
        ready_file=folder / "ready",
        any_will_do=renewal is Renewal.NEW_FIRST,
    )
    supervisor = Supervisor(workers)
    supervisor.serve_probes("127.0.0.1", None)
    await supervisor.run(follow(folder / "count", supervisor))


async def follow(file: Path, supervisor: Supervisor) -> None:
    """Have as many workers as the file says."""
    while True:
        if file.exists() and (count := int(file.read_text())) != supervisor.count:
            await supervisor.scale(count)
        await asyncio.sleep(0.02)


async def work(folder: Path, renewal: Renewal) -> None:
    """Wait for a turn, if there are turns; then be at work until told to stop."""
    link = await SupervisorLink.open()
    turn, stop = asyncio.Event(), asyncio.Event()
    told: list[str] = []

    def ends(how: str) -> None:
        told.append(how)
        stop.set()

    obeying = asyncio.create_task(
        link.obey(
            {
                Command.WORK: turn.set,
                Command.LEAVE: lambda: ends("leaves"),
                Command.RETIRE: lambda: ends("retires"),
                Command.STOP: lambda: ends("stops"),
            }
        )
    )
    number = os.environ["NUMBER"]
    if (folder / "broken").exists() or (folder / f"broken-{number}").exists():
        note(folder, "breaks")
        sys.exit(3)
    if (late := folder / f"late-{number}").exists():
        note(folder, "is-late")
        while late.exists():  # noqa: ASYNC110  the test removes it
            await asyncio.sleep(0.02)
        note(folder, "catches-up")
    (folder / f"loaded-{number}").touch()
    if renewal is Renewal.OLD_FIRST:
        link.prepared()
        await turn.wait()
    note(folder, "begins")
    link.ready()
    await stop.wait()
    note(folder, told[0])
    obeying.cancel()


if __name__ == "__main__":
    where, how = Path(sys.argv[1]), Renewal[sys.argv[2]]
    asyncio.run(work(where, how) if sys.argv[3] == WORKER else supervise(where, how, int(sys.argv[3])))
