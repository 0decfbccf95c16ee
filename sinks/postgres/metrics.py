"""Every metric of the process `sinks postgres` beside those of `delivery` and the dead letters."""

from prometheus_client import Counter, Histogram

ROWS = Counter("cartstream_postgres_sink_rows_total", "Rows of carts written or deleted")
STALE_ROWS = Counter("cartstream_postgres_sink_stale_rows_total", "Rows that Postgres had as new or newer")
WRITE_SECONDS = Histogram("cartstream_postgres_sink_write_seconds", "Time to write one batch")
