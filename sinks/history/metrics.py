"""Every metric of the process `sinks history` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Histogram

CHANGES = Counter("cartstream_history_sink_changes_total", "Operations written")
SKIPPED = Counter(
    "cartstream_history_sink_skipped_total", "Operations that were there already, or have been erased"
)
ERASED = Counter("cartstream_history_sink_erased_total", "Operations deleted by erasures")
WRITE_SECONDS = Histogram("cartstream_history_sink_write_seconds", "Time to write one batch")
