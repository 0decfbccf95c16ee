"""Starts a sink process."""

import sys
from collections.abc import Callable
from typing import Final

from runtime.settings import SettingsError, load
from sinks.settings import HistorySinkSettings, PostgresSinkSettings, RedisSinkSettings
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS, PRODUCTS
from topics.startup import require_topics


def run(name: str) -> None:
    """Run the sink called `name` until SIGTERM or SIGINT; KeyError for one that does not exist.

    Exits with 1 when the environment is wrong or the topics are not as it says, with 75 when only a new start
    helps.
    """
    start = _STARTS[name]
    try:
        start()
    except SettingsError as error:
        sys.exit(f"The settings are wrong:\n{error}")


# Imported inside the functions, so that a process loads only its own libraries.


def _postgres() -> None:
    from delivery.worker import run_worker  # noqa: PLC0415
    from sinks.postgres.app import create_postgres_app  # noqa: PLC0415

    settings = load(PostgresSinkSettings)
    require_topics("sinks postgres", settings, settings.partitions, (CARTS, DEAD_LETTERS))
    run_worker(create_postgres_app(settings))


def _redis() -> None:
    from sinks.redis.app import run_agent  # noqa: PLC0415

    settings = load(RedisSinkSettings)
    require_topics(
        "sinks redis", settings, settings.partitions, (CARTS, CART_CHANGED, PRODUCTS, DEAD_LETTERS)
    )
    run_agent(settings)


def _mail() -> None:
    from delivery.worker import run_worker  # noqa: PLC0415
    from sinks.mail.app import create_mail_app  # noqa: PLC0415
    from sinks.mail.settings import MailSinkSettings  # noqa: PLC0415

    settings = load(MailSinkSettings)
    require_topics("sinks mail", settings, settings.partitions, (ORDERS, DEAD_LETTERS))
    run_worker(create_mail_app(settings))


def _history() -> None:
    from delivery.worker import run_worker  # noqa: PLC0415
    from sinks.history.app import create_history_app  # noqa: PLC0415

    settings = load(HistorySinkSettings)
    require_topics("sinks history", settings, settings.partitions, (CART_CHANGED, DEAD_LETTERS))
    run_worker(create_history_app(settings))


_STARTS: Final[dict[str, Callable[[], None]]] = {
    "postgres": _postgres,
    "redis": _redis,
    "mail": _mail,
    "history": _history,
}
