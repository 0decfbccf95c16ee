"""Every metric of the process `jobs`."""

from prometheus_client import Counter, Gauge

LEADING = Gauge("cartstream_jobs_leading", "Whether this process has the job", ("job",))
STARTS = Counter("cartstream_jobs_starts_total", "Times this process took the job up", ("job",))
FAILURES = Counter("cartstream_jobs_failures_total", "Times the job failed here", ("job",))
LAST_SUCCESS = Gauge(
    "cartstream_jobs_last_success_timestamp_seconds",
    "When the job last did all there was to do (Unix time); alarm on the newest of all processes",
    ("job",),
)

OUTBOX_ROWS = Gauge("cartstream_jobs_outbox_rows", "Records in the Postgres outbox (counted up to 100,000)")
OUTBOX_OLDEST = Gauge("cartstream_jobs_outbox_oldest_seconds", "Age of the oldest record in the outbox")
RELAYED = Counter(
    "cartstream_jobs_relayed_records_total", "Records carried from the outbox to Kafka", ("topic",)
)
RELAY_WAKEUPS = Counter(
    "cartstream_jobs_relay_wakeups_total", "What made an idle relay look: notification, sweep", ("by",)
)

EXPIRY_ROWS = Counter("cartstream_jobs_expiry_rows_total", "Rows of carts that expiry has looked at")
EXPIRY_COMMANDS = Counter(
    "cartstream_jobs_expiry_commands_total", "Expiries and purges that expiry has published", ("kind",)
)
EXPIRY_PROGRESS = Gauge(
    "cartstream_jobs_expiry_progress_ratio", "Share of the round's rows looked at, 0 to 1"
)

ORDERS_UNSETTLED = Gauge(
    "cartstream_jobs_orders_unsettled",
    "Orders not yet seen in their carts: due (being taken out of it), waits (its cart is expired or gone)",
    ("standing",),
)
ORDERS_SETTLED = Counter("cartstream_jobs_orders_settled_total", "Orders seen in their carts")
SUBTRACTIONS = Counter(
    "cartstream_jobs_subtractions_total", "Orders taken out of carts because their checkout had not done so"
)
CHECKOUTS_EXPIRED = Counter(
    "cartstream_jobs_checkouts_expired_total", "Checkouts that nobody completed in time"
)

ABANDONMENTS = Counter(
    "cartstream_jobs_abandonments_total", "Carts told of: abandoned (left behind), recovered", ("kind",)
)

TRANSFERS_UNSETTLED = Gauge(
    "cartstream_jobs_merge_transfers_unsettled", "Transfers of merges not yet seen in both carts"
)
MERGES_HANDED_OVER = Counter(
    "cartstream_jobs_merges_handed_over_total", "Merges that stopped half-way, handed to the merge agent"
)
MERGES_TAKEN_UP = Counter(
    "cartstream_jobs_merges_taken_up_total", "Merges taken up again, for their guest's cart has got lines"
)

HISTORY_PARTITIONS_DROPPED = Counter(
    "cartstream_jobs_history_partitions_dropped_total", "Days of the history that have become too old"
)


def succeeded(job: str) -> None:
    """Note that the job has just done all there was to do."""
    LAST_SUCCESS.labels(job).set_to_current_time()
