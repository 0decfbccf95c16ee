"""What can go wrong with the embedded stack; every message says what to do about it."""

import errno
from pathlib import Path


class StackError(Exception):
    """The stack cannot do what was asked; a retry helps only after the cause in the message is mended."""


class PortTakenError(StackError):
    """Another program listens on a port that a component needs."""


class AlreadyRunningError(StackError):
    """Another supervisor uses this data folder."""


class MissingProgramError(StackError):
    """A program or package that the stack is built from is not installed."""


class ComponentFailedError(StackError):
    """A component did not become ready; the message ends with its last log lines."""


class DataFolderError(StackError):
    """A file or folder of the stack cannot be made, read or written."""


_CAUSES = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "the quota is used up. Free some space",
    errno.EROFS: "the file system is read-only. Make it writable",
    errno.EACCES: "this user may not do that. Run this as the user who owns the folder",
    errno.EPERM: "this user may not do that. Run this as the user who owns the folder",
}


def data_folder_error(error: OSError, data_dir: Path) -> DataFolderError:
    """What to tell somebody whose data folder is read-only, full, or another user's."""
    cause = _CAUSES.get(error.errno or 0, f"{error.strerror or error}. Mend that")
    return DataFolderError(
        f"{error.filename or data_dir} cannot be used: {cause}, or set CARTSTREAM_DATA_DIR to another "
        "folder, for example CARTSTREAM_DATA_DIR=/tmp/cartstream"
    )
