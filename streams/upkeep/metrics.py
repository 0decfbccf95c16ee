"""Every metric of the process `streams upkeep`."""

from prometheus_client import Counter, Gauge

LEADING = Gauge("cartstream_upkeep_leading", "Whether this process has the duty", ("duty",))
STARTS = Counter("cartstream_upkeep_starts_total", "Times this process took the duty up", ("duty",))
FAILURES = Counter("cartstream_upkeep_failures_total", "Times the duty failed here", ("duty",))
LAST_SUCCESS = Gauge(
    "cartstream_upkeep_last_success_timestamp_seconds",
    "When the duty last did all there was to do (Unix time); alarm on the newest of all processes",
    ("duty",),
)

OUTBOX_ROWS = Gauge("cartstream_upkeep_outbox_rows", "Records in the Postgres outbox (counted up to 100,000)")
OUTBOX_OLDEST = Gauge("cartstream_upkeep_outbox_oldest_seconds", "Age of the oldest record in the outbox")
RELAYED = Counter("cartstream_upkeep_relayed_total", "Records carried from the outbox to Kafka", ("topic",))
RELAY_REFUSED = Counter(
    "cartstream_upkeep_relay_refused_total", "Records that Kafka does not take, now dead letters", ("topic",)
)
RELAY_WAKEUPS = Counter(
    "cartstream_upkeep_relay_wakeups_total", "What made an idle relay look: notification, sweep", ("by",)
)

AGEING_ROWS = Counter("cartstream_upkeep_ageing_rows_total", "Rows of carts that ageing has looked at")
AGEING_COMMANDS = Counter(
    "cartstream_upkeep_ageing_commands_total", "Expiries and purges that ageing has published", ("kind",)
)
AGEING_PROGRESS = Gauge("cartstream_upkeep_ageing_progress", "Share of the round's rows looked at, 0 to 1")

ORDERS_UNSETTLED = Gauge(
    "cartstream_upkeep_orders_unsettled",
    "Orders not yet seen in their carts: due (being taken out of it), waits (its cart is expired or gone)",
    ("standing",),
)
ORDERS_SETTLED = Counter("cartstream_upkeep_orders_settled_total", "Orders seen in their carts")
SUBTRACTIONS = Counter(
    "cartstream_upkeep_subtractions_total", "Orders taken out of carts because their checkout had not done so"
)
CHECKOUTS_EXPIRED = Counter(
    "cartstream_upkeep_checkouts_expired_total", "Checkouts that nobody completed in time"
)


def succeeded(duty: str) -> None:
    """Note that the duty has just done all there was to do."""
    LAST_SUCCESS.labels(duty).set_to_current_time()
