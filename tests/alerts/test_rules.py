"""The rules as promtool judges them: valid, silent before a trouble, firing in it."""

import shutil
import subprocess

import pytest

from tests.alerts.prometheus import MISSING, RULES

pytestmark = pytest.mark.alerts


def promtool(*arguments: str) -> None:
    """Run it in the folder of the rules; AssertionError with what it says unless it is content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(MISSING)
    done = subprocess.run(
        [program, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", RULES.name)


def test_each_rule_is_silent_before_its_trouble_and_fires_in_it() -> None:
    promtool("test", "rules", "alerts_test.yml")


@pytest.mark.parametrize("config", ["local.yml", "../compose/prometheus.yml"])
def test_the_configurations_are_valid(config: str) -> None:
    promtool("check", "config", "--syntax-only", config)
