"""The ready file of a process: it is there while the process does its work."""

from pathlib import Path


class ReadyFile:
    """The file at `path`; without one nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def set(self) -> None:
        """Make the file, and its folder."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()

    def clear(self) -> None:
        """Remove the file if it is there."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
