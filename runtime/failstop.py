"""Ends a process when only a restart helps."""

import logging
import os
import sys
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
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_RESTART)
