"""The log of a process: events as JSON lines on stderr, or for people on a terminal."""

import logging
import sys
from typing import Final

import structlog

from runtime.redaction import redacted_value

ACCESS: Final = "sanic.access"

# The processes report by themselves that Kafka is away; these repeat it many times a second.
_FLOODING: Final = ("aiokafka",)


def configure_logging() -> None:
    """Log structlog's events and the access log; of libraries only warnings."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_is_wanted)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _FLOODING:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def mask_secrets(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Take secrets out of every value of an event."""
    # What begins with `_` is structlog's own, and never shown.
    return {name: value if name.startswith("_") else redacted_value(value) for name, value in event.items()}


def _is_wanted(record: logging.LogRecord) -> bool:
    # structlog's records carry a dictionary; Faust logs under the names of its subclasses here, too.
    return isinstance(record.msg, dict) or record.name == ACCESS or record.levelno >= logging.WARNING
