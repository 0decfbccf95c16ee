"""Every metric of the delivery layer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

_PARTITION = ("topic", "partition")

LAG = Gauge("cartstream_delivery_lag_records", "Log end minus committed offset", _PARTITION)
GAPS = Counter("cartstream_delivery_gaps_total", "Records lost on their way, fetched again", _PARTITION)
REDELIVERIES = Counter("cartstream_delivery_redeliveries_total", "Records seen before, skipped", _PARTITION)
OUTSIDE_LOG = Counter(
    "cartstream_delivery_offsets_outside_log_total",
    "Assignments whose committed offset the log did not have",
    (*_PARTITION, "why"),
)
REPLAYED = Counter(
    "cartstream_delivery_replayed_records_total", "Changelog records read into a table", ("table",)
)
SENT_AGAIN = Counter(
    "cartstream_delivery_resent_records_total", "States whose last record was an older one", ("table",)
)
UNANSWERED = Gauge(
    "cartstream_delivery_unanswered_seconds",
    "For how long an older state may have stood at the end of a table's changelog",
    ("table",),
)
BATCH_RETRIES = Counter("cartstream_delivery_batch_retries_total", "Failed writes of a batch", ("app",))
