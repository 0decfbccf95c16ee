"""Ends a stack's processes when their supervisor is gone, however it went: kill -9, a crash, a lost terminal.

Runs as a process of its own, told everything on its standard input: a line `<pid>` for each process group
that starts and `-<pid>` for each that has ended. The end of the input means that no supervisor is left. Each
writes its own line before it becomes the server (see `process.LAUNCHER`), so none exists unknown to this
process. PR_SET_PDEATHSIG would do a part of it, but it follows the *thread* that forked, is not inherited by
grandchildren (a gateway's workers), and exists on Linux only.

The lock of the data folder is inherited and so stays held until the last process has ended.
"""

import os
import signal
import sys
import time

GRACE_SECONDS = 8.0


def main() -> None:
    """Follows the supervisor's lines to their end, then ends what is left."""
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line)
        if pid > 0:
            groups.add(pid)
        else:
            groups.discard(-pid)
    _end(groups)


def _end(groups: set[int]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    alive = {group for group in groups if _signalled(group, signal.SIGTERM)}
    # A frozen process would otherwise sleep through its SIGTERM.
    alive = {group for group in alive if _signalled(group, signal.SIGCONT)}
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = {group for group in alive if _signalled(group, 0)}
    for group in alive:
        _signalled(group, signal.SIGKILL)


def _signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    # Only the end of the input may end this process: a terminal's Ctrl-C is the supervisor's business.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main()
