"""Starts a sink process."""

import sys
from collections.abc import Callable
from typing import Final

from runtime.settings import SettingsError, load
from sinks.settings import HistorySinkSettings, PostgresSinkSettings, RedisSinkSettings


def run(name: str) -> None:
    """Run the sink called `name` until SIGTERM or SIGINT; KeyError for one that does not exist.

    Exits with 1 when the environment is wrong, with 75 when only a new start helps.
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

    run_worker(create_postgres_app(load(PostgresSinkSettings)))


def _redis() -> None:
    from sinks.redis.app import run_agent  # noqa: PLC0415

    run_agent(load(RedisSinkSettings))


def _mail() -> None:
    from delivery.worker import run_worker  # noqa: PLC0415
    from sinks.mail.app import create_mail_app  # noqa: PLC0415
    from sinks.mail.settings import MailSinkSettings  # noqa: PLC0415

    run_worker(create_mail_app(load(MailSinkSettings)))


def _history() -> None:
    from delivery.worker import run_worker  # noqa: PLC0415
    from sinks.history.app import create_history_app  # noqa: PLC0415

    run_worker(create_history_app(load(HistorySinkSettings)))


_STARTS: Final[dict[str, Callable[[], None]]] = {
    "postgres": _postgres,
    "redis": _redis,
    "mail": _mail,
    "history": _history,
}
