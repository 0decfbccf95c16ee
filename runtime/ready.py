"""The ready file of a process: it exists while the process does its work."""

from collections.abc import Callable, Iterable
from pathlib import Path

from runtime.new_files import open_new


class ReadyFile:
    """The file at `path`; without one nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def set(self, address: str | None = None) -> None:
        """Make the file, and its folder; with the address at which the process answers probes, if it does."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_name(f"{self._path.name}.new")
            with open_new(new) as file:
                file.write(f"{address}\n".encode() if address else b"")
            new.replace(self._path)  # whoever sees it reads all of it

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
