"""As root, Postgres runs as somebody else, wherever the checkout and the data are."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from devstack import postgres, unprivileged
from devstack.embedded import EmbeddedStack
from devstack.errors import StackError
from devstack.settings import POSTGRES, REDIS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="what root runs as another user needs root"),
]

PROGRAM = "bin/program"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are for their owner only."""
    folder = Path(tempfile.mkdtemp(prefix="cartstream-open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An installed program in a folder that only root may enter."""
    program = tmp_path / "installed" / PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 1.0\n")
    program.chmod(0o700)
    tmp_path.chmod(0o700)
    return tmp_path / "installed"


def runnable(installed: Path, preferred: Path) -> Path:
    return unprivileged.runnable(installed, [PROGRAM], "copy-1.0", PROGRAM, preferred)


def test_the_servers_start_in_a_folder_that_only_root_may_enter(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec(postgres.PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    site_packages = Path(spec.submodule_search_locations[0]).parent
    hidden = tmp_path / "site-packages"
    for part in postgres.NEEDED:
        (hidden / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (site_packages / part).is_dir() else shutil.copy2
        copy(site_packages / part, hidden / part)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres, "find_package", lambda name: hidden / name)
    monkeypatch.setattr(unprivileged, "SHARED", (open_folder,))
    monkeypatch.chdir(tmp_path)

    with EmbeddedStack(tmp_path / "data") as stack:
        assert redis.Redis.from_url(stack.urls.redis).ping()
        with psycopg.connect(stack.urls.postgres) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert psutil.Process(stack.component(POSTGRES).pid).username() == unprivileged.NAME
        assert psutil.Process(stack.component(REDIS).pid).username() == "root"
        stack.restart(POSTGRES)
        with psycopg.connect(stack.urls.postgres) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)

    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_programs_that_the_user_can_run_are_not_copied(installed: Path, open_folder: Path) -> None:
    reachable = open_folder / "installed"
    shutil.copytree(installed, reachable)
    (reachable / PROGRAM).chmod(0o755)
    assert runnable(reachable, open_folder) == reachable
    assert [path.name for path in open_folder.iterdir()] == ["installed"]


def test_programs_out_of_reach_are_copied_once(installed: Path, open_folder: Path) -> None:
    copy = runnable(installed, open_folder)
    assert copy == open_folder / "copy-1.0"
    made = (copy / PROGRAM).stat()
    assert runnable(installed, open_folder) == copy
    assert (copy / PROGRAM).stat() == made


def test_a_copy_that_somebody_else_made_is_not_run(
    installed: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = open_folder / "theirs", open_folder / "ours"
    ours.mkdir(mode=0o755)
    shutil.copytree(installed, theirs / "copy-1.0")
    os.chown(theirs / "copy-1.0", pwd.getpwnam(unprivileged.NAME).pw_uid, -1)
    monkeypatch.setattr(unprivileged, "SHARED", (ours,))
    assert runnable(installed, theirs) == ours / "copy-1.0"


def test_without_a_place_for_the_copy_the_message_says_what_to_set(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unprivileged, "SHARED", (tmp_path / "nowhere",))
    with pytest.raises(StackError, match="CARTSTREAM_CACHE_DIR"):
        runnable(installed, tmp_path / "cache")
