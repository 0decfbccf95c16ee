"""A suite that needs programs asks for them before anything is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

import devstack
from tests.support.processes import ROOT

SCRIPT = Path(devstack.__file__).with_name("needs.sh")


@pytest.mark.parametrize(
    ("suite", "packages"),
    [
        ("alerts", {"curl", "postgresql-client", "prometheus", "redis-tools"}),
        ("cluster", {"redis-server"}),
        ("ops", {"chromium"}),
    ],
)
def test_each_package_that_is_missing_is_told(suite: str, packages: set[str], tmp_path: Path) -> None:
    told = subprocess.run(
        ["/bin/sh", SCRIPT, suite],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert {line.split("apt install ")[1].rstrip(")") for line in told.stderr.splitlines()[:-1]} == packages
    assert "Nothing was installed" in told.stderr


@pytest.mark.parametrize("suite", ["alerts", "cluster", "ops", "secure"])
def test_they_are_looked_for_before_the_set_up(suite: str) -> None:
    dry_run = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--assume-new=requirements.lock", f"test-{suite}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *_ = dry_run.stdout.splitlines()
    assert first == f"sh devstack/needs.sh {suite}"
    assert "devstack/setup.sh" in second


def test_nothing_is_installed_without_them_also_by_several_jobs(tmp_path: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "devstack").mkdir()
    (tmp_path / "devstack" / "needs.sh").write_text("sleep 0.1; exit 1")
    (tmp_path / "devstack" / "setup.sh").write_text("touch installed")
    command = ["make", "-j4", "-f", str(ROOT / "Makefile"), "test-secure"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode
    assert not (tmp_path / "installed").exists()


@pytest.mark.parametrize("programs", [(), ("docker",), ("docker", "dockerd")])
def test_without_a_docker_daemon_nothing_is_run_and_that_is_said(
    programs: tuple[str, ...], tmp_path: Path
) -> None:
    for program in ("dirname", "id", "mkdir", "sleep", "tail"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    for program in programs:
        (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    told = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "local" / "with-docker.sh", "echo", "it runs"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 69
    assert told.stdout.startswith("NOT RUN: echo it runs\n")
