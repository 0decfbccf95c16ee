"""What can go wrong in delivery, and the one way out when only a restart helps."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

EXIT_RESTART = 75
"""EX_TEMPFAIL of sysexits.h: the supervisor should start the process again."""


class DeliveryError(Exception):
    """Something in the delivery layer failed."""


class OutsideOfStream(DeliveryError):
    """A table is written while one of its source events is being processed; elsewhere publish an event."""


class RecordTooLarge(DeliveryError):
    """The changelog would refuse a value of this size: refuse the event that makes it so large."""


class TopicTaken(DeliveryError):
    """A topic can be consumed by one agent of an app only: offsets are accounted for once."""


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
