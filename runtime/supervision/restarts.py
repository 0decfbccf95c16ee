"""When a process that has ended is started again."""

from dataclasses import dataclass
from typing import Final

from runtime.failstop import EXIT_RESTART

FIRST_DELAY_SECONDS: Final = 0.25
LONGEST_DELAY_SECONDS: Final = 30.0
HEALTHY_SECONDS: Final = 30.0
BRIEF_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Restart:
    """When to restart a process that has ended, and how many failures in a row there are by then."""

    delay: float
    failures: int


def restart_after(exit_code: int, ran_seconds: float, failures: int) -> Restart:
    """The delay doubles with each failure in a row, up to 30 s; 30 s of running end the row.

    Exit code 75 asks for a restart at once and is no failure, unless the process ended within a second.
    """
    if exit_code == EXIT_RESTART and ran_seconds >= BRIEF_SECONDS:
        return Restart(delay=0.0, failures=0)
    before = 0 if ran_seconds >= HEALTHY_SECONDS else failures
    return Restart(delay=min(FIRST_DELAY_SECONDS * 2**before, LONGEST_DELAY_SECONDS), failures=before + 1)
