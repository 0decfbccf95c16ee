"""The ready file of a process: it exists while the process does its work."""

from collections.abc import Callable, Iterable
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


def when_all(parts: Iterable[str], ready: Callable[[], None]) -> Callable[[str], None]:
    """A function to call with the name of each ready part; with the last one it calls `ready`, once."""
    waiting = set(parts)

    def is_ready(part: str) -> None:
        if part in waiting:
            waiting.discard(part)
            if not waiting:
                ready()

    return is_ready
