"""Every metric of the compaction process beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Histogram

EVENTS = Counter(
    "cartstream_compaction_events_total",
    "what an event did to its cart: `changed`, `known`, `below_floor`, `deleted`, `refused`, `unsupported`",
    ["verdict"],
)
RECORD_BYTES = Histogram(
    "cartstream_compaction_record_bytes",
    "size of the `carts` records sent",
    buckets=[1 << shift for shift in range(9, 23, 2)],
)
