"""How a process ends by itself."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

PROGRAM = """
from runtime.failstop import Misconfigured
from runtime.process import run_process
from runtime.settings import ProcessSettings

async def work(lifetime):
    raise {error}("set it right")

run_process("worker", ProcessSettings(), work)
"""


@pytest.mark.parametrize(("error", "code"), [("Misconfigured", 1), ("RuntimeError", 75)])
def test_a_wrong_setting_ends_with_1_and_a_sentence_and_anything_else_with_75(error: str, code: int) -> None:
    command = [sys.executable, "-c", PROGRAM.format(error=error)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    assert (ended.returncode, "worker: set it right\n" in ended.stderr) == (code, code == 1), ended.stderr
