"""The clock of this machine."""

import time


def clock_us() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000
