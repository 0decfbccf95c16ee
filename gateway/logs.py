"""The gateway's log: events as JSON lines on stderr, or for people on a terminal."""

import logging
import sys
from typing import Final

import structlog

ACCESS: Final = "sanic.access"


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


def _is_wanted(record: logging.LogRecord) -> bool:
    # structlog's records carry a dictionary.
    return isinstance(record.msg, dict) or record.name == ACCESS or record.levelno >= logging.WARNING
