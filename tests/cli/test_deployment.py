"""The image and docker-compose.yml name packages and commands that there are."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, cartstream

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
# A service of the product: it takes its image from `x-cartstream`.
SERVICES = re.findall(r"<<: \*cartstream\n    command: (.+)", COMPOSE)


def test_the_image_contains_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == packages


def test_compose_runs_every_process() -> None:
    assert len(SERVICES) == COMPOSE.count("<<: *cartstream")
    assert {"gateway", "streams", "sinks", "jobs"} <= {command.split()[0] for command in SERVICES}


@pytest.mark.parametrize("command", SERVICES)
def test_every_command_of_compose_exists(command: str) -> None:
    shown = CliRunner().invoke(cartstream, [*command.split(), "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"Usage: cartstream {' '.join(word for word in command.split() if word[0] != '-')}" in shown.output


def test_every_command_has_its_own_help() -> None:
    for name in COMMANDS:
        assert CliRunner().invoke(cartstream, [name, "--help"]).exit_code == 0
