"""Tells Prometheus where a process serves its metrics: a file in a folder, in the format of its file_sd.

A process that ends gently takes its file away. That of one that was killed stays, and Prometheus sees that it
is down, until the next process of that name begins.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from runtime.new_files import open_new

log = structlog.get_logger(__name__)

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what it is to be asked by


class MetricsTarget:
    """The file of this process, `<process>-<pid>.json`. It holds a lock on it for as long as it lives."""

    def __init__(self, folder: Path | None, process: str, worker: str) -> None:
        """Without a folder nothing is written. `process` and `worker` become labels."""
        self._folder: Final = folder
        self._process: Final = process
        self._worker: Final = worker
        self._file: IO[bytes] | None = None

    def set(self, address: str | None) -> None:
        """Name the address, such as http://127.0.0.1:9400; None: there is none. OSError is only logged."""
        if self._folder is None or address is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned(self._folder)
            self._write(self._path(self._folder), address)
        except OSError as error:
            log.warning("metrics.target_not_written", folder=str(self._folder), error=repr(error))

    def clear(self) -> None:
        """The process ends as it was told: take the file away."""
        if self._folder is not None and self._file is not None:
            self._path(self._folder).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _path(self, folder: Path) -> Path:
        return folder / f"{self._process}-{os.getpid()}.json"

    def _write(self, path: Path, address: str) -> None:
        new = path.with_suffix(".new")
        file = open_new(new)
        # The lock goes along with the file to its name, and ends with the process however that ends.
        fcntl.flock(file, fcntl.LOCK_EX)
        labels = {"process": self._process, "worker": self._worker}
        file.write(msgspec.json.encode([{"targets": [_authority(address)], "labels": labels}]))
        file.flush()
        new.replace(path)
        if self._file is not None:
            self._file.close()
        self._file = file

    def _remove_abandoned(self, folder: Path) -> None:
        for path in folder.glob(f"{self._process}-*.json"):
            pid = path.stem.removeprefix(f"{self._process}-")
            if not pid.isdigit():
                continue  # of another process, whose name begins like this one's
            try:
                with path.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except OSError:
                continue  # its process lives, or it is another user's


def _authority(address: str) -> str:
    """`host:port` by which this host can ask."""
    parts = urlsplit(address)
    host = _LOOPBACK.get(parts.hostname or "", parts.hostname or "")
    return f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"
