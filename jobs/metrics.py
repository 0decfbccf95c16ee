"""Every metric of the process `jobs`."""

from typing import Final

from prometheus_client import Counter, Gauge

LEADING = Gauge("cartstream_jobs_leading", "1 in the process that runs the job", ("job",))
STARTS = Counter("cartstream_jobs_starts_total", "times this process took the job over", ("job",))
FAILURES = Counter("cartstream_jobs_failures_total", "times the job failed here", ("job",))
LAST_SUCCESS = Gauge(
    "cartstream_jobs_last_success_timestamp_seconds",
    "when the job had last done all there was to do, 0: not since this process began; take the newest over "
    "all processes",
    ("job",),
)

OUTBOX_ROWS = Gauge("cartstream_jobs_outbox_rows", "records in the Postgres outbox, counted up to 100,000")
OUTBOX_OLDEST = Gauge(
    "cartstream_jobs_outbox_oldest_seconds", "age of the oldest record in the Postgres outbox"
)
RELAYED = Counter("cartstream_jobs_relayed_records_total", "records published from the outbox", ("topic",))
RELAY_WAKEUPS = Counter(
    "cartstream_jobs_relay_wakeups_total", "what woke an idle relay: `notification`, `sweep`", ("by",)
)

EXPIRY_ROWS = Counter("cartstream_jobs_expiry_rows_total", "rows of carts read")
EXPIRY_COMMANDS = Counter(
    "cartstream_jobs_expiry_commands_total", "`expire`, `purge` and `trim` commands published", ("kind",)
)
EXPIRY_PROGRESS = Gauge("cartstream_jobs_expiry_progress_ratio", "share of the round's rows read, 0 to 1")

ORDERS_UNSETTLED = Gauge(
    "cartstream_jobs_orders_unsettled",
    "orders not yet seen in their carts: `due`, `waits` (the cart is expired or gone)",
    ("standing",),
)
ORDERS_SETTLED = Counter("cartstream_jobs_orders_settled_total", "orders seen in their carts")
SUBTRACTIONS = Counter(
    "cartstream_jobs_subtractions_total",
    "orders taken out of carts by the job, because their checkout had not done so",
)
CHECKOUTS_EXPIRED = Counter(
    "cartstream_jobs_checkouts_expired_total", "checkouts that were not completed in time"
)

UNREADABLE_ROWS = Gauge(
    "cartstream_jobs_unreadable_rows",
    "orders (`settlement`) and carts (`expiry`) passed over in the job's last round: the cart's row "
    "cannot be read; counted up to 10,000, the log names each once",
    ("job",),
)

ABANDONMENTS = Counter(
    "cartstream_jobs_abandonments_total", "carts told of: `abandoned` (left behind), `recovered`", ("kind",)
)

TRANSFERS_UNSETTLED = Gauge(
    "cartstream_jobs_merge_transfers_unsettled", "transfers of merges not yet seen in both carts"
)
MERGES_HANDED_OVER = Counter(
    "cartstream_jobs_merges_handed_over_total", "merges that stopped half-way, handed to the merge agent"
)
MERGES_TAKEN_UP = Counter(
    "cartstream_jobs_merges_taken_up_total", "merges taken up again because their guest cart has lines"
)

HISTORY_PARTITIONS_DROPPED = Counter(
    "cartstream_jobs_history_partitions_dropped_total",
    "days of the history dropped because they were too old",
)


def succeeded(job: str) -> None:
    """Note that the job has just done all there was to do."""
    LAST_SUCCESS.labels(job).set_to_current_time()


_STANDINGS: Final[dict[str, tuple[Gauge, ...]]] = {
    "relay": (OUTBOX_ROWS, OUTBOX_OLDEST),
    "expiry": (EXPIRY_PROGRESS, UNREADABLE_ROWS.labels("expiry")),
    "settlement": (
        ORDERS_UNSETTLED.labels("due"),
        ORDERS_UNSETTLED.labels("waits"),
        UNREADABLE_ROWS.labels("settlement"),
    ),
    "merges": (TRANSFERS_UNSETTLED,),
}
"""What each job has counted last."""


def forget(job: str) -> None:
    """This process does not have the job, or not the database: what it has counted last is old."""
    for gauge in _STANDINGS.get(job, ()):
        gauge.set(0)
