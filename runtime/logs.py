"""The log of a process on stderr: one JSON object for each event, or lines for people."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

import structlog

from runtime import tracing
from runtime.redaction import redacted_value
from runtime.settings import LogFormat, LogLevel, LogSettings

ACCESS: Final = "sanic.access"

# The processes report by themselves that Kafka is away; these repeat it many times a second.
_FLOODING: Final = ("aiokafka",)

# Never what libraries say for debugging: it repeats what they send, credentials too.
_OF_LIBRARIES: Final = {LogLevel.DEBUG: logging.INFO, LogLevel.INFO: logging.WARNING}

_FIRST: Final = ("time", "level", "logger", "message", "process", "process_id")
_LAST: Final = ("exception", "stack")

log = structlog.get_logger(__name__)


def configure_logging(process: str, settings: LogSettings) -> None:
    """Log structlog's events and the access log from the settings' level on; of libraries only warnings.

    At `debug` libraries also say what they do. An exception that nobody catches, and a warning of Python,
    become events like all others. `process` is the name of this process in its log.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    of_libraries = _OF_LIBRARIES.get(settings.log_level, level)
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_secrets,
        name_trace,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(process, settings.log_format),
            ],
        )
    )
    handler.addFilter(_wanted(level, of_libraries))
    logging.basicConfig(level=min(level, of_libraries), handlers=[handler], force=True)
    for name in _FLOODING:
        logging.getLogger(name).setLevel(
            logging.NOTSET if settings.log_level is LogLevel.DEBUG else logging.CRITICAL
        )
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def configure_command_logging() -> None:
    """Log to stderr, for people. What libraries repeat while something is tried again is left out.

    Commands say by themselves what they wait for, and what is a result goes to stdout.
    """
    structlog.configure(
        processors=[_without_retries, *structlog.get_config()["processors"]],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for name in _FLOODING:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _without_retries(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if event["event"] == "stamina.retry_scheduled":
        raise structlog.DropEvent
    return event


def mask_secrets(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Take secrets out of every value of an event."""
    # What begins with `_` is structlog's own, and never shown.
    return {name: value if name.startswith("_") else redacted_value(value) for name, value in event.items()}


def name_trace(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Say to which trace an event belongs, where there are traces and it belongs to one."""
    return event if tracing.active is None else {**event, **tracing.active.current_ids()}


def _rendering(process: str, wanted: LogFormat | None) -> list[structlog.typing.Processor]:
    on_terminal = sys.stderr.isatty()
    if wanted is LogFormat.TEXT or (wanted is None and on_terminal):
        return [structlog.dev.ConsoleRenderer(colors=on_terminal, timestamp_key="time")]

    def in_order(
        _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        said = {"message": event.pop("event", ""), "process": process, "process_id": os.getpid(), **event}
        middle = [name for name in said if name not in _FIRST and name not in _LAST]
        return {name: said[name] for name in (*_FIRST, *middle, *_LAST) if name in said}

    return [in_order, structlog.processors.JSONRenderer()]


def _wanted(own: int, of_libraries: int) -> Callable[[logging.LogRecord], bool]:
    def is_wanted(record: logging.LogRecord) -> bool:
        # structlog's records carry a dictionary; Faust logs under the names of its subclasses here, too.
        is_own = isinstance(record.msg, dict) or record.name == ACCESS
        return record.levelno >= (own if is_own else of_libraries)

    return is_wanted


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        sys.__excepthook__(kind, error or kind(), traceback)
    else:
        log.critical("process.uncaught_exception", exc_info=(kind, error, traceback))
