"""Starts the stream agents: settings, a check of the topics, the worker or workers."""

from delivery.workers import run_workers
from runtime.settings import load
from streams.settings import StreamsSettings
from topics.access import STREAM_COMPACTION, STREAM_MERGES
from topics.registry import CART_MERGES
from topics.startup import require_topics

# Some is imported inside the functions: a supervisor does without Faust, and compaction without the stores.


def run_compaction() -> None:
    """Run the compaction agent until SIGTERM, or several of them.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    settings = load(StreamsSettings)
    require_topics(
        "streams compaction",
        settings,
        settings.partitions,
        STREAM_COMPACTION,
        others=settings.other_partitions,
    )

    def run() -> None:
        from delivery.worker import run_worker  # noqa: PLC0415
        from streams.compaction import create_compaction  # noqa: PLC0415

        run_worker(create_compaction(settings))

    run_workers(("streams", "compaction"), settings, settings.partitions, run)


def run_merges() -> None:
    """Run the merge agent until SIGTERM, or several of them.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    from streams.merge_settings import MergeSettings  # noqa: PLC0415

    settings = load(MergeSettings)
    require_topics(
        "streams merges", settings, settings.partitions, STREAM_MERGES, others=settings.other_partitions
    )

    def run() -> None:
        from delivery.worker import run_worker  # noqa: PLC0415
        from streams.merges import create_merges  # noqa: PLC0415

        run_worker(create_merges(settings))

    run_workers(("streams", "merges"), settings, settings.partitions_of(CART_MERGES.name), run)
