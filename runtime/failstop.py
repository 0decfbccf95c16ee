"""Ends a process at once: when only a restart helps, or when it does not end by itself."""

import logging
import os
import signal
import sys
import threading
from typing import Final, NoReturn

import structlog

log = structlog.get_logger(__name__)

EXIT_RESTART: Final = 75
"""EX_TEMPFAIL of sysexits.h: the supervisor should start the process again."""

EXIT_CONFIGURATION: Final = 1
"""Something is set wrong: a restart does not help."""


class Misconfigured(Exception):
    """A setting is wrong, as it turned out; the message says what to set. A restart does not help."""


def end_misconfigured(name: str, error: Misconfigured) -> NoReturn:
    """End the process with code 1, its message in the log and on stderr; `name` is the process's."""
    log.critical("process.misconfigured", exit_code=EXIT_CONFIGURATION, app=name, problem=str(error))
    sys.stderr.write(f"{name}: {error}\n")
    end(EXIT_CONFIGURATION)


def fail_stop(event: str, **details: object) -> NoReturn:
    """End the process with code 75, committing nothing more.

    Everything not committed is delivered again to the next process, so dying is always safe here;
    going on after a lost changelog record or a failed body is not. `os._exit`, because an orderly
    exit would run Faust's shutdown, which commits.
    """
    log.critical(event, exit_code=EXIT_RESTART, **details)
    end(EXIT_RESTART)


def instance_id_taken(instance_id: str) -> NoReturn:
    """End the process with code 1: another one has joined its group under the same instance id.

    Not with 75: a restart would only take the id back, and the other one would end.
    """
    log.critical(
        "group.instance_id_taken",
        exit_code=EXIT_CONFIGURATION,
        instance_id=instance_id,
        meaning=f"another process has joined the group as {instance_id}; only one can have that id",
        instead="give each worker a CARTSTREAM_GROUP_INSTANCE_ID of its own, such as streams-0 and streams-1",
    )
    end(EXIT_CONFIGURATION)


def fail_stop_after(seconds: float, event: str) -> None:
    """End the process with code 75 after `seconds`, unless it has ended by then.

    A thread does it: it also runs while the event loop is blocked, while a task does not let itself be
    cancelled, and while the interpreter waits for other threads at its exit.
    """
    timer = threading.Timer(seconds, fail_stop, (event,), {"seconds": seconds})
    timer.daemon = True
    timer.start()


def end_at_sigterm() -> None:
    """End the process at once, with code 0, when SIGTERM comes before it has begun: nothing is to finish.

    Process 1 of a container needs a handler for that: it gets no signal that it does not ask for.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: end(0))


def end(code: int) -> NoReturn:
    """End the process with `code`, without waiting for tasks or threads; what it has logged is written."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
