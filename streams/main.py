"""Starts the stream agents: settings, a check of the topics, the worker."""

from delivery.worker import run_worker
from runtime.settings import load
from streams.compaction import create_compaction
from streams.merges import create_merges
from streams.settings import MergeSettings, StreamsSettings
from topics.registry import CART_CHANGED, CART_MERGES, CARTS, DEAD_LETTERS
from topics.startup import require_topics


def run_compaction() -> None:
    """Run the compaction agent until SIGTERM.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    settings = load(StreamsSettings)
    require_topics("streams compaction", settings, settings.partitions, (CART_CHANGED, CARTS, DEAD_LETTERS))
    run_worker(create_compaction(settings))


def run_merges() -> None:
    """Run the merge agent until SIGTERM.

    Exits with 75 when a restart may help, and with 1 when the topics are not as the settings say.
    """
    settings = load(MergeSettings)
    require_topics("streams merges", settings, settings.partitions, (CART_MERGES, CART_CHANGED, DEAD_LETTERS))
    run_worker(create_merges(settings))
