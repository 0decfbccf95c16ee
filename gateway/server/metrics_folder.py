"""The folder in which the workers of a gateway keep their metrics, for as long as their supervisor lives."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "cartstream-gateway-metrics-"
_LOCK: Final = "lock"


@contextmanager
def metrics_folder() -> Iterator[str]:
    """A folder for the environment variable PROMETHEUS_MULTIPROC_DIR.

    Takes away what supervisors have left behind that were killed with SIGKILL: a lock ends with its process,
    in whatever container that was.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, (Path(folder) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            # Its owner lives, or it is another user's.
            continue
