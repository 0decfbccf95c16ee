"""The commands of the runbooks, and somebody who runs them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.alerts.prometheus import ROOT

PAGE: Final = ROOT / "docs" / "how-to" / "runbooks.md"
PROGRAMS: Final = ("curl", "psql", "redis-cli")
"""That the commands use, beside the product's own and systemctl."""

_NOT_FOUND: Final = 127
_PATIENCE_S: Final = 120.0


def sections() -> dict[str, str]:
    """The text of each alert's runbook by the alert's name."""
    found = re.split(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def commands(alert: str) -> list[str]:
    """The lines of the blocks of commands in the alert's runbook."""
    blocks = re.findall(r"^```sh\n(.*?)^```", sections()[alert], re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class OnCall:
    """Runs a runbook: commands in a shell, and `systemctl restart` by what stands in for systemd."""

    def __init__(self, environment: Mapping[str, str], units: Mapping[str, Callable[[], None]]) -> None:
        """`units` restart what the names of units stand for."""
        self.environment: Final = environment
        self._units: Final = units

    def follow(self, alert: str) -> None:
        """Run the alert's commands in order. What they find may be bad; the commands themselves are right."""
        for line in commands(alert):
            if line.startswith("systemctl restart "):
                self._units[line.removeprefix("systemctl restart ")]()
            else:
                self._run(line)

    def _run(self, line: str) -> None:
        try:
            done = subprocess.run(
                ["sh", "-c", line],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return  # of a server that is frozen, and so much is known now
        assert done.returncode != _NOT_FOUND, f"{line}\n{done.stderr}"
        assert "Usage: cartstream" not in done.stderr, f"{line}\n{done.stderr}"
        sys.stdout.write(f"$ {line}\n{done.stdout}{done.stderr}")


def path_with_the_product(path: str) -> str:
    """PATH with the commands of this environment first."""
    return f"{Path(sys.executable).parent}:{path}"


def missing_programs() -> list[str]:
    """Those of PROGRAMS that this machine lacks."""
    return [program for program in PROGRAMS if shutil.which(program) is None]
