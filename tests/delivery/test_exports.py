"""What the package exports is there, and costs a process without Faust nothing of it."""

import subprocess
import sys

import delivery


def test_every_name_that_is_exported_can_be_imported() -> None:
    assert all(getattr(delivery, name) is not None for name in delivery.__all__)


def test_a_process_without_faust_does_not_import_it() -> None:
    """A second of processor time at every start of the stack."""
    for module in ("streams.upkeep.app", "sinks.redis.app"):
        code = f"import sys, {module}; sys.exit('faust' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, module
