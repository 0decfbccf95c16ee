"""Every metric of the delivery layer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_PARTITION = ("topic", "partition")
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

LAG = Gauge(
    "cartstream_delivery_lag_records", "end of the log less the committed offset", ("group", *_PARTITION)
)
LAG_SECONDS = Gauge(
    "cartstream_delivery_lag_seconds",
    "for how long the log has had a record behind the committed offset, as this worker has seen it",
    ("group", *_PARTITION),
)
RUN_RECORDS = Histogram(
    "cartstream_delivery_run_records",
    "records of a run, which pass through Faust together",
    ("group",),
    buckets=_SIZES,
)
BATCH_RECORDS = Histogram(
    "cartstream_delivery_batch_records",
    "records of a batch, which a sink writes together",
    ("group",),
    buckets=_SIZES,
)
GAPS = Counter(
    "cartstream_delivery_gaps_total", "gaps met in a partition; the records are fetched again", _PARTITION
)
REDELIVERIES = Counter("cartstream_delivery_redeliveries_total", "records seen before, skipped", _PARTITION)
OUTSIDE_LOG = Counter(
    "cartstream_delivery_offsets_outside_log_total",
    "assignments whose committed offset the log did not have: `removed` (retention was "
    "faster, records were never read) or `beyond_end` (the log is read from its "
    "beginning)",
    (*_PARTITION, "why"),
)
REPLAYED = Counter(
    "cartstream_delivery_replayed_records_total", "changelog records read into a table", ("table",)
)
SENT_AGAIN = Counter(
    "cartstream_delivery_resent_records_total",
    "states sent again because the log ended with an older one",
    ("table",),
)
UNANSWERED = Gauge(
    "cartstream_delivery_unanswered_seconds",
    "for how long somebody else's record, perhaps an older state, has stood in a table's "
    "changelog without an answer",
    ("table",),
)
BATCH_RETRIES = Counter("cartstream_delivery_batch_retries_total", "failed writes of a batch", ("app",))
