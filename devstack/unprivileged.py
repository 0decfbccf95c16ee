"""For root: the user that runs what refuses to run as root, and programs where this user can run them.

A checkout in /root, or in any folder that only its owner may enter, hides `.venv` from every other user. Its
programs are then copied once to a folder that everybody may enter. Nothing is made accessible that was not.
"""

import contextlib
import errno
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from devstack import drop_root
from devstack.errors import MissingProgramError, StackError

NAME = "nobody"
SHARED = tuple(map(Path, ("/var/cache", "/var/tmp", "/tmp", "/opt", "/run", "/dev/shm")))  # noqa: S108  the owner is checked
"""Where a copy may be made, best first."""

_OF_THE_PROGRAM: Final = frozenset((errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ENOEXEC))
"""How the start of a program fails for reasons of its own; a forbidden change of user is another error."""


def user() -> pwd.struct_passwd:
    """The unprivileged user. Raises StackError where root cannot become that user."""
    if sys.platform != "linux":
        raise StackError("Postgres refuses to run as root: run this as another user")
    try:
        return pwd.getpwnam(NAME)
    except KeyError as error:
        raise MissingProgramError(
            f"Postgres refuses to run as root, and there is no user {NAME} in /etc/passwd to run it: "
            "add that user, or run this as a user other than root"
        ) from error


def as_user(folder: Path, program: Path, *arguments: str) -> tuple[str, ...]:
    """The command that runs `program` as the unprivileged user, with `folder` as `drop_root.FOLDER`."""
    entry = user()
    ids = (str(entry.pw_uid), str(entry.pw_gid))
    return (sys.executable, "-I", drop_root.__file__, *ids, str(folder), str(program), *arguments)


def give(folder: Path) -> None:
    """Makes the unprivileged user the owner of `folder`. Raises StackError when that has no effect."""
    entry = user()
    try:
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        changed = folder.stat().st_uid == entry.pw_uid
    except OSError:
        changed = False
    if not changed:
        raise StackError(
            f"{folder} cannot be given to the user {NAME}, who runs Postgres: this file system keeps no "
            "owners, or root may not change them. Set CARTSTREAM_DATA_DIR to a folder on another one, or run "
            "this as a user other than root"
        )


def runnable(installed: Path, parts: Sequence[str], name: str, probe: str, preferred: Path) -> Path:
    """A folder with the `parts` of `installed` whose program `probe` the unprivileged user can run.

    That is `installed` itself, or else a copy named `name`, in `preferred` or in one of SHARED. Raises
    StackError when there is no such place.
    """
    if _runs(installed / probe):
        return installed
    with contextlib.suppress(OSError):
        preferred.mkdir(parents=True, exist_ok=True)
    for place in _open_to_all((preferred, *SHARED)):
        copy = place / name
        try:
            if not copy.exists():
                _copy(installed, parts, copy)
        except OSError:
            continue  # read-only, full, or not ours
        # In a folder like /tmp somebody else may have made one.
        if _only_we_write(copy) and _runs(copy / probe):
            return copy
    raise StackError(
        f"Postgres refuses to run as root, and the user {NAME} can neither enter {installed} nor run a copy "
        f"in any of {', '.join(map(str, SHARED))}. Set CARTSTREAM_CACHE_DIR to a writable folder that "
        "everybody may enter, on a file system without noexec; or run this as a user other than root"
    )


def _runs(program: Path) -> bool:
    entry = user()
    command = [str(program), "--version"]
    try:
        tried = subprocess.run(
            command,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except subprocess.SubprocessError as error:
        raise _cannot_change_user() from error
    except OSError as error:
        if error.errno in _OF_THE_PROGRAM:
            return False
        raise _cannot_change_user() from error
    return tried.returncode == 0


def _cannot_change_user() -> StackError:
    return StackError(
        f"Postgres refuses to run as root, and root may not become the user {NAME} here (capabilities SETUID "
        "and SETGID are missing, or the user namespace has no other user): run this as a user other than root"
    )


def _open_to_all(places: Iterable[Path]) -> list[Path]:
    """The folders that everybody may enter, and from which programs can be run."""
    return [place for place in places if _is_open_to_all(place)]


def _is_open_to_all(place: Path) -> bool:
    try:
        is_entered = all(folder.stat().st_mode & stat.S_IXOTH for folder in (place, *place.parents))
        return is_entered and not os.statvfs(place).f_flag & os.ST_NOEXEC
    except OSError:
        return False


def _only_we_write(folder: Path) -> bool:
    found = folder.lstat()
    return found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _copy(installed: Path, parts: Sequence[str], copy: Path) -> None:
    """Makes the copy at once or not at all: others may want it at the same time."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        for part in parts:
            source, target = installed / part, fresh / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
        for path in (fresh, *fresh.rglob("*")):
            # Whatever the umask of the installation was.
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        fresh.rename(copy)
    except FileExistsError:
        pass  # another process was quicker
    except OSError:
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
