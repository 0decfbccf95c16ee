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

MAILS = Counter("cartstream_mail_total", "Mails by kind and what became of them", ("kind", "outcome"))
MAIL_FAILURES = Counter(
    "cartstream_mail_failures_total", "Failures that made the mail agent wait", ("error",)
)
MAILS_WAITING = Gauge("cartstream_mail_waiting", "Mails not sent yet, in all processes together")
MAIL_OLDEST = Gauge("cartstream_mail_oldest_waiting_seconds", "Age of the oldest mail not sent yet")

CATALOGUE_RECORDS = Counter(
    "cartstream_catalogue_records_total", "Records of products by what was done", ("outcome",)
)
CATALOGUE_POSITION = Gauge(
    "cartstream_catalogue_position", "Next offset of products to follow", ("partition",)
)
CATALOGUE_LAG = Gauge(
    "cartstream_catalogue_lag_records", "Log end of products minus follow position", ("partition",)
)
CATALOGUE_COMPLETE = Gauge("cartstream_catalogue_complete", "Whether the product cache is complete")
CATALOGUE_REFILLS = Counter(
    "cartstream_catalogue_refills_total", "Times the product cache was found empty or in parts"
)

UNFOLDED = Gauge(
    "cartstream_unfolded_carts",
    "Carts with changes that carts has not covered for a minute; they are published again once found lost",
    ("partition",),
)
REPUBLISHED = Counter("cartstream_republished_total", "Changes lost downstream and published again: alarm")
NOT_REPUBLISHED = Counter(
    "cartstream_not_republished_total",
    "Changes lost downstream and left alone, by why: backlog, waits (these are found again); "
    "too_old, no_change, in_vain (alarm)",
    ("why",),
)
