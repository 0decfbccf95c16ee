"""Takes the guards of expiry and anti-entropy away, one at a time: `python -m tests.jobs.guards`.

Each row runs the tests below with one function of every process replaced (see `tests/faults/mutations`). A
guard that no test misses makes the exit status 1.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

EXPIRY: Final = "tests/jobs/test_expiry.py"
ANTI_ENTROPY: Final = "tests/jobs/test_anti_entropy.py"
GUARDS: Final = (
    ("a write overrules an expiry it did not know of", "an_expiry_is_never_void", EXPIRY),
    ("an expiry names the version it saw", "an_expiry_sees_what_it_likes", EXPIRY),
    ("a row too old to count is none", "old_copies_count", EXPIRY),
    ("the purge floor", "the_purge_floor_goes_astray", EXPIRY),
    ("anti-entropy", "nobody_looks_for_what_was_lost", ANTI_ENTROPY),
    ("lost is told from late", "what_is_late_counts_as_lost", ANTI_ENTROPY),
    ("the account of what is not folded", "puts_keep_no_account", ANTI_ENTROPY),
)
"""The guard, the function that takes it away, and the tests in which it is missed."""

_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) \S+::(\w+)", re.MULTILINE)


def failing(mutation: str, tests: str) -> list[str]:
    """The tests that fail with it."""
    path = os.pathsep.join((str(Path("tests/faults/mutations").resolve()), str(Path.cwd())))
    environment = {
        "CARTSTREAM_TEST_MUTATION": mutation,
        "CARTSTREAM_TEST_PATIENCE_S": "30",
        "PYTHONPATH": path,
        "COLUMNS": "400",
    }
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", tests, "-q", "--tb=no"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return _FAILED.findall(finished.stdout)


def main() -> None:
    """Print the table."""
    unmissed = 0
    print("| guard | mutation | tests that fail |\n|---|---|---|")  # noqa: T201  the result
    for guard, mutation, tests in GUARDS:
        failed = failing(mutation, tests)
        unmissed += not failed
        print(f"| {guard} | `{mutation}` | {'; '.join(failed) or '**none**'} |", flush=True)  # noqa: T201
    sys.exit(min(1, unmissed))


if __name__ == "__main__":
    main()
