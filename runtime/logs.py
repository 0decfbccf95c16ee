"""The log of a process: events as JSON lines on stderr, or for people on a terminal."""

import logging
import re
import sys
from typing import Final

import structlog

ACCESS: Final = "sanic.access"

_GUEST: Final = re.compile(r"guest(?::|%3[Aa])[A-Za-z0-9._~%-]+")
_TICKET: Final = re.compile(r"\bticket=[^&\s]+")
_LINK: Final = re.compile(r"(/v1/(?:recover|unsubscribe)/)[^\s/?]+")
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
    """Replace guest carts, tickets and tokens of links in all texts: who has them sees the cart."""
    return {name: _masked(value) if isinstance(value, str) else value for name, value in event.items()}


def _masked(text: str) -> str:
    if "guest" in text:
        text = _GUEST.sub("guest:***", text)
    if "/v1/" in text:
        text = _LINK.sub(r"\1***", text)
    return _TICKET.sub("ticket=***", text) if "ticket=" in text else text


def _is_wanted(record: logging.LogRecord) -> bool:
    # structlog's records carry a dictionary; Faust logs under the names of its subclasses here, too.
    return isinstance(record.msg, dict) or record.name == ACCESS or record.levelno >= logging.WARNING
