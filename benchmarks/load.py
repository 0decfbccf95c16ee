"""One run of wrk with one of our scripts, and what it measured."""

import math
import os
import shutil
import subprocess
from pathlib import Path

import msgspec

_HERE = Path(__file__).parent


class MissingLoadGenerator(Exception):
    """wrk is not installed: `apt-get install wrk`, then run the benchmark again."""


class Load(msgspec.Struct, frozen=True):
    """What one run measured: latencies in milliseconds, errors counted, never hidden."""

    requests: int
    seconds: float
    non_2xx: int
    socket_errors: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests per second that were answered with 2xx."""
        return (self.requests - self.non_2xx) / self.seconds


def run_wrk(
    script: str,
    url: str,
    *,
    connections: int,
    seconds: float,
    carts: int,
    rate: float = 0,
    path: str | None = None,
) -> Load:
    """Run `script` (add.lua or get.lua) against `url` over `carts` carts, with one thread.

    wrk knows whole seconds only: others are rounded up. add.lua takes a `rate` in requests a second, 0 for as
    fast as they are answered, and a `path` that names other carts, with %d for the number of each.
    """
    if shutil.which("wrk") is None:
        raise MissingLoadGenerator(MissingLoadGenerator.__doc__)
    paths = {} if path is None else {"BENCH_PATH": path}
    finished = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{math.ceil(seconds)}s",
            "--timeout",
            "10s",
            "-s",
            str(_HERE / script),
            url,
        ],
        env={**os.environ, "BENCH_CARTS": str(carts), "BENCH_RATE": str(rate), **paths},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    line = next(line for line in finished.stdout.splitlines() if line.startswith("BENCH "))
    return msgspec.json.decode(line.removeprefix("BENCH "), type=Load)
