"""Ends a process at once: when only a restart helps, or when it does not end by itself."""

import logging
import os
import sys
import threading
from typing import Final, NoReturn

import structlog

log = structlog.get_logger(__name__)

EXIT_RESTART: Final = 75
"""EX_TEMPFAIL of sysexits.h: the supervisor should start the process again."""


def fail_stop(event: str, **details: object) -> NoReturn:
    """End the process with code 75, committing nothing more.

    Everything not committed is delivered again to the next process, so dying is always safe here;
    going on after a lost changelog record or a failed body is not. `os._exit`, because an orderly
    exit would run Faust's shutdown, which commits.
    """
    log.critical(event, exit_code=EXIT_RESTART, **details)
    end(EXIT_RESTART)


def fail_stop_after(seconds: float, event: str) -> None:
    """End the process with code 75 after `seconds`, unless it has ended by then.

    A thread does it: it also runs while the event loop is blocked, while a task does not let itself be
    cancelled, and while the interpreter waits for other threads at its exit.
    """
    timer = threading.Timer(seconds, fail_stop, (event,), {"seconds": seconds})
    timer.daemon = True
    timer.start()


def end(code: int) -> NoReturn:
    """End the process with `code`, without waiting for tasks or threads; what it has logged is written."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
