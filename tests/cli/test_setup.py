"""`make setup` asks for what it needs before it installs anything, and heals what was interrupted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import devstack

SCRIPT = Path(devstack.__file__).with_name("setup.sh")
TOOLS = ("rm", "touch", "mkdir", "cp", "cat")

# Pretends to be an interpreter: notes what it is asked, and makes a .venv that consists of itself.
PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  *version_info*) exit {too_old} ;;
  *ensurepip*) exit {no_venv} ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip "*install*) exit {pip_fails} ;;
esac
"""
JAVA_WORKS, NO_JAVA = "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n"


class Checkout:
    """A folder with the script, and a PATH of pretended programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.calls = folder / "calls"
        self.venv = folder / ".venv"
        self.programs.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self.programs / tool).symlink_to(found)
        self.python("python3")
        self.program("mvn", JAVA_WORKS)

    def program(self, name: str, text: str) -> Path:
        """Put a program on the PATH."""
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, name: str, *, too_old: int = 0, no_venv: int = 0, pip_fails: int = 0) -> None:
        """Put an interpreter on the PATH."""
        self.program(name, PYTHON.format(too_old=too_old, no_venv=no_venv, pip_fails=pip_fails))

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        self.calls.write_text("")
        return subprocess.run(
            ["/bin/sh", str(SCRIPT)],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(self.calls),
                "HOME": str(self.folder),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def installs(self) -> int:
        """How often pip was asked to install in the last run."""
        return self.calls.read_text().count(" install ")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh checkout on a machine that has everything."""
    return Checkout(tmp_path)


def refused(done: subprocess.CompletedProcess[str], checkout: Checkout) -> str:
    """What a run that installed nothing has said."""
    assert done.returncode == 1
    assert "Nothing was installed" in done.stderr
    assert not checkout.venv.exists()
    assert checkout.installs == 0
    return done.stderr


def test_all_there_makes_the_environment(checkout: Checkout) -> None:
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert (checkout.venv / ".installed").exists()
    assert checkout.installs == 2


def test_without_maven_nothing_is_installed(checkout: Checkout) -> None:
    (checkout.programs / "mvn").unlink()
    assert "apt install maven" in refused(checkout.setup(), checkout)


def test_maven_without_java_installs_nothing(checkout: Checkout) -> None:
    checkout.program("mvn", NO_JAVA)
    assert "apt install default-jre-headless" in refused(checkout.setup(), checkout)


def test_maven_is_not_needed_once_kafka_is_there(checkout: Checkout) -> None:
    (checkout.programs / "mvn").unlink()
    jars = checkout.folder / "cache" / "kafka-4.3.1-0123456789ab"
    jars.mkdir(parents=True)
    (jars / "kafka_2.13-4.3.1.jar").touch()
    assert checkout.setup(CARTSTREAM_CACHE_DIR=str(checkout.folder / "cache")).returncode == 0


def test_an_old_python_installs_nothing(checkout: Checkout) -> None:
    checkout.python("python3", too_old=1)
    assert "Python 3.11 or newer" in refused(checkout.setup(), checkout)


def test_no_python_installs_nothing(checkout: Checkout) -> None:
    (checkout.programs / "python3").unlink()
    assert "make setup PYTHON=" in refused(checkout.setup(), checkout)


def test_a_newer_python_is_found_beside_an_old_one(checkout: Checkout) -> None:
    checkout.python("python3", too_old=1)
    checkout.python("python3.12")
    done = checkout.setup()
    assert done.returncode == 0
    assert "with python3.12" in done.stdout


def test_a_named_python_is_the_only_one_looked_at(checkout: Checkout) -> None:
    assert "Python 3.11" in refused(checkout.setup(PYTHON="python3.9"), checkout)


def test_python_without_venv_installs_nothing(checkout: Checkout) -> None:
    checkout.python("python3", no_venv=1)
    assert "apt install python3-venv" in refused(checkout.setup(), checkout)


def test_all_that_is_missing_is_said_at_once(checkout: Checkout) -> None:
    (checkout.programs / "mvn").unlink()
    checkout.python("python3", no_venv=1)
    assert refused(checkout.setup(), checkout).count("Missing: ") == 2


@pytest.mark.parametrize("half", ["", "bin/python", "bin/pip"])
def test_half_an_environment_is_made_again(checkout: Checkout, half: str) -> None:
    """Killed while it was made: no interpreter, or one that runs nothing."""
    left = checkout.venv / half if half else checkout.venv / "lib"
    left.parent.mkdir(parents=True)
    left.touch()
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert "making .venv again: it has no working Python 3.11 with pip" in done.stdout
    assert os.access(checkout.venv / "bin" / "python", os.X_OK)


def test_an_environment_whose_interpreter_is_gone_is_made_again(checkout: Checkout) -> None:
    (checkout.venv / "bin").mkdir(parents=True)
    (checkout.venv / "bin" / "python").symlink_to("/nowhere/python3.11")
    assert checkout.setup().returncode == 0
    assert os.access(checkout.venv / "bin" / "python", os.X_OK)


def test_an_interrupted_installation_starts_afresh(checkout: Checkout) -> None:
    checkout.python("python3", pip_fails=1)
    assert checkout.setup().returncode == 1
    assert not (checkout.venv / ".installed").exists()
    (checkout.venv / "half-a-package").touch()

    checkout.python("python3")
    done = checkout.setup()

    assert done.returncode == 0, done.stderr
    assert "its set-up was interrupted" in done.stdout
    assert not (checkout.venv / "half-a-package").exists()


def test_a_working_environment_is_kept_when_dependencies_change(checkout: Checkout) -> None:
    checkout.setup()
    (checkout.venv / "kept").touch()
    done = checkout.setup()
    assert done.returncode == 0
    assert (checkout.venv / "kept").exists()
    assert checkout.installs == 2
