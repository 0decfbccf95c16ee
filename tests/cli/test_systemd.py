"""The systemd units: systemd understands them, and they run commands that there are. No test starts them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cartstream
from topics.groups import GROUPS

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
PROGRAM = "/opt/cartstream/bin/cartstream"
AGENTS = {group.command for group in GROUPS}


def commands() -> list[str]:
    """The commands of all units, templates with each of their instances."""
    found = []
    for unit in sorted(UNITS.glob("*.service")):
        for command in re.findall(rf"^ExecStart={PROGRAM} (.+)$", unit.read_text(), re.MULTILINE):
            if "%i" in command:
                kind = command.split()[0]
                found += [agent for agent in AGENTS if agent.startswith(kind + " ")]
            else:
                found.append(command)
    return sorted(found)


def edit_of_the_page() -> str:
    """What `systemctl edit` is given on the page about systemd."""
    (found,) = re.findall(
        r"^```ini\n(.*?)^```", (ROOT / "docs/how-to/systemd.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return str(found)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    names = []
    for unit in tmp_path.glob("*.service"):
        # It looks whether the program is there.
        text = unit.read_text().replace(PROGRAM, "/bin/true")
        instance = unit.with_name(unit.name.replace("@", "@instance"))
        instance.write_text(text)
        names.append(instance.name)
    edited = tmp_path / "cartstream-streams@instance.service.d"
    edited.mkdir()
    (edited / "override.conf").write_text(edit_of_the_page().replace(PROGRAM, "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "cartstream.target", *sorted(names)],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    assert (verified.stdout, verified.stderr, verified.returncode) == ("", "", 0)


@pytest.mark.parametrize("command", commands())
def test_every_command_of_a_unit_exists(command: str) -> None:
    shown = CliRunner().invoke(cartstream, [*command.split(), "--help"])
    assert f"Usage: cartstream {command}" in shown.output


def test_every_process_has_a_unit() -> None:
    assert {"gateway", "jobs", "ops", "migrate", "topics apply"} | AGENTS == set(commands())


def test_the_operations_page_looks_where_every_process_says_what_it_is() -> None:
    common = (UNITS / "cartstream-.service.d" / "common.conf").read_text()
    (folder,) = re.findall(r"^Environment=CARTSTREAM_METRICS_TARGETS=/var/lib/(.+)$", common, re.MULTILINE)
    assert re.findall(r"^StateDirectory=(.+)$", common, re.MULTILINE) == [folder]
    # The last file wins: that of the unit over that of all.
    assert re.findall(r"^EnvironmentFile=(.+)$", common, re.MULTILINE) == [
        "/etc/cartstream/cartstream.env",
        "-/etc/cartstream/%N.env",
    ]
