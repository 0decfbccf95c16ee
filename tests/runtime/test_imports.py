"""A process loads only the libraries that it needs: the others would be the longest part of its start."""

import subprocess
import sys

import pytest

UNNEEDED = {
    ("streams.main", "streams.compaction"): {"psycopg", "redis", "jwt"},
    ("sinks.main", "sinks.postgres.app"): {"redis", "jwt"},
    ("sinks.main", "sinks.history.app"): {"redis", "jwt"},
    ("sinks.redis.app",): {"faust"},
    ("jobs.app",): {"faust"},
    # As a supervisor: Faust comes with the work.
    ("streams.main",): {"faust", "psycopg", "redis", "jwt"},
    ("sinks.main", "sinks.history.settings"): {"faust", "redis", "jwt"},
}


@pytest.mark.parametrize(("modules", "unneeded"), UNNEEDED.items(), ids=map(" ".join, UNNEEDED))
def test_a_process_loads_no_library_that_it_does_not_need(
    modules: tuple[str, ...], unneeded: set[str]
) -> None:
    code = f"import sys, {', '.join(modules)}; print(*{unneeded}.intersection(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert loaded.stdout.split() == []
