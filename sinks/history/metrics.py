"""Every metric of the process `sinks history` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Histogram

CHANGES = Counter("cartstream_history_sink_changes_total", "operations written")
SKIPPED = Counter(
    "cartstream_history_sink_skipped_total",
    "operations that were there already, or that an erasure has forgotten",
)
ERASED = Counter("cartstream_history_sink_erased_total", "operations deleted by erasures")
WRITE_SECONDS = Histogram("cartstream_history_sink_write_seconds", "time to write one batch to Postgres")
