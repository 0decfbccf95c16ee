"""The folder of the workers' metrics goes with its supervisor, or with the next one."""

import multiprocessing
import os
import tempfile
from pathlib import Path
from signal import SIGKILL

import pytest

from gateway.server.metrics_folder import metrics_folder


def _killed() -> None:
    with metrics_folder():
        os.kill(os.getpid(), SIGKILL)


def test_what_a_killed_supervisor_has_left_goes_and_what_a_living_one_has_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    supervisor = multiprocessing.get_context("fork").Process(target=_killed)
    supervisor.start()
    supervisor.join()
    (left,) = tmp_path.iterdir()
    with metrics_folder() as one:
        assert not left.exists()
        with metrics_folder() as two:
            assert {path.name for path in tmp_path.iterdir()} == {Path(one).name, Path(two).name}
    assert not list(tmp_path.iterdir())
