"""Moves a process's clock by CARTSTREAM_TEST_SKEW_S seconds: Python imports this at its start."""

import os
import time

_nanoseconds, _seconds = time.time_ns, time.time
_skew_s = float(os.environ["CARTSTREAM_TEST_SKEW_S"])


def _skewed_ns() -> int:
    return _nanoseconds() + int(_skew_s * 1e9)


def _skewed() -> float:
    return _seconds() + _skew_s


time.time_ns, time.time = _skewed_ns, _skewed
