"""Every metric of the sinks."""

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("cartstream_sink_rows_total", "Rows of carts written or deleted in Postgres")
STALE_ROWS = Counter("cartstream_sink_stale_rows_total", "Rows that Postgres had as new or newer")
WRITE_SECONDS = Histogram("cartstream_sink_write_seconds", "Time to write one batch into Postgres")

RESTORES = Counter("cartstream_restore_total", "Restorations of a partition by outcome", ("outcome",))
RESTORED = Counter("cartstream_restore_carts_total", "Carts put into Redis by restorations")
RESTORING = Gauge("cartstream_restore_running", "Whether the partition is being restored", ("partition",))
RESTORE_PERCENT = Gauge("cartstream_restore_percent", "Progress of the last restoration", ("partition",))
RESTORE_SECONDS = Gauge("cartstream_restore_seconds", "Duration of the last restoration", ("partition",))

FOLLOWED = Counter("cartstream_follow_records_total", "Records of carts by what was done", ("outcome",))
FOLLOW_POSITION = Gauge("cartstream_follow_position", "Next offset of carts to follow", ("partition",))
FOLLOW_LAG = Gauge("cartstream_follow_lag_records", "Log end of carts minus follow position", ("partition",))
REWINDS = Counter("cartstream_follow_rewinds_total", "Times Redis was found rolled back")
UNREADABLE = Counter("cartstream_sink_unreadable_total", "Records that nobody can read, by topic", ("topic",))
