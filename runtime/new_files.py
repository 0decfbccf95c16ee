"""Files that a process leaves for others: its callers write them beside their place, then move them there."""

import os
from pathlib import Path
from typing import IO


def open_new(path: Path) -> IO[bytes]:
    """A new file at `path`, open for writing, for its owner alone. Raises OSError.

    What stood there is removed first, and a link there is never written through.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
