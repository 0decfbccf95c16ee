"""Every metric of the process `sinks postgres` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Histogram

ROWS = Counter("cartstream_postgres_sink_rows_total", "rows of carts written to or deleted from Postgres")
STALE_ROWS = Counter(
    "cartstream_postgres_sink_stale_rows_total",
    "rows not written because Postgres has the same or a newer version",
)
WRITE_SECONDS = Histogram("cartstream_postgres_sink_write_seconds", "time to write one batch to Postgres")
