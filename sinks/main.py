"""Starts a sink, or several workers of one.

What a worker needs is imported when it starts: a process loads only its own libraries, a supervisor none.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Final

from delivery.workers import run_workers
from runtime.settings import SettingsError, load
from topics.access import SINK_HISTORY, SINK_MAIL, SINK_POSTGRES, SINK_REDIS
from topics.names import GENERATION
from topics.registry import ORDERS
from topics.startup import require_topics


def run(name: str) -> None:
    """Run the sink called `name`, or several of its workers, until SIGTERM; KeyError if it does not exist.

    Exits with 1 when the environment is wrong or the topics are not as it says, with 75 when only a new start
    helps.
    """
    start = _STARTS[name]
    try:
        start()
    except SettingsError as error:
        sys.exit(f"The settings are wrong:\n{error}")


def _postgres() -> None:
    from sinks.postgres.settings import PostgresSinkSettings  # noqa: PLC0415

    settings = load(PostgresSinkSettings)
    require_topics(
        "sinks postgres", settings, settings.partitions, SINK_POSTGRES, others=settings.other_partitions
    )

    def work() -> None:
        from delivery.worker import run_worker  # noqa: PLC0415
        from sinks.postgres.app import create_postgres_app  # noqa: PLC0415

        run_worker(create_postgres_app(settings))

    run_workers(("sinks", "postgres"), settings, settings.partitions, work)


def _redis() -> None:
    from sinks.redis.settings import RedisSinkSettings  # noqa: PLC0415

    settings = load(RedisSinkSettings)
    if GENERATION > 1:
        # Writes may wait for it: what takes long to import is there when it need not wait any more.
        import_module("sinks.redis.app")
    require_topics("sinks redis", settings, settings.partitions, SINK_REDIS, others=settings.other_partitions)

    def work() -> None:
        from sinks.redis.app import run_agent  # noqa: PLC0415

        run_agent(settings)

    run_workers(("sinks", "redis"), settings, settings.partitions, work)


def _mail() -> None:
    from sinks.mail.settings import MailSinkSettings  # noqa: PLC0415

    settings = load(MailSinkSettings)
    require_topics("sinks mail", settings, settings.partitions, SINK_MAIL, others=settings.other_partitions)

    def work() -> None:
        from delivery.worker import run_worker  # noqa: PLC0415
        from sinks.mail.app import create_mail_app  # noqa: PLC0415

        run_worker(create_mail_app(settings))

    run_workers(("sinks", "mail"), settings, settings.partitions_of(ORDERS.name), work)


def _history() -> None:
    from sinks.history.settings import HistorySinkSettings  # noqa: PLC0415

    settings = load(HistorySinkSettings)
    require_topics(
        "sinks history", settings, settings.partitions, SINK_HISTORY, others=settings.other_partitions
    )

    def work() -> None:
        from delivery.worker import run_worker  # noqa: PLC0415
        from sinks.history.app import create_history_app  # noqa: PLC0415

        run_worker(create_history_app(settings))

    run_workers(("sinks", "history"), settings, settings.partitions, work)


_STARTS: Final[dict[str, Callable[[], None]]] = {
    "postgres": _postgres,
    "redis": _redis,
    "mail": _mail,
    "history": _history,
}
