"""What the package costs a process that runs without Faust: nothing."""

import subprocess
import sys


def test_a_process_without_faust_does_not_import_it() -> None:
    """A second of processor time at every start of the stack."""
    for module in ("jobs.app", "sinks.redis.app"):
        code = f"import sys, {module}; sys.exit('faust' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, module
