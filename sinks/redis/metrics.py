"""Every metric of the process `sinks redis` beside the dead letters."""

from prometheus_client import Counter, Gauge

from sinks.redis.republish import Why

RESTORES = Counter(
    "cartstream_redis_sink_restores_total",
    "restores of a partition: `complete`, `abandoned` (started over)",
    ("outcome",),
)
RESTORED = Counter("cartstream_redis_sink_restored_carts_total", "carts put into Redis by restores")
RESTORING = Gauge(
    "cartstream_redis_sink_restoring", "1 while the partition is being restored", ("partition",)
)
RESTORE_PERCENT = Gauge(
    "cartstream_redis_sink_restore_percent", "progress of the last restore", ("partition",)
)
RESTORE_SECONDS = Gauge(
    "cartstream_redis_sink_restore_seconds", "duration of the last restore", ("partition",)
)
COLD = Gauge(
    "cartstream_redis_sink_cold_offset",
    "carts whose newest record is before this offset of `carts` may be in their rows "
    "only; 0: the partition is warm",
    ("partition",),
)
WARMED = Counter("cartstream_redis_sink_warmed_carts_total", "carts brought in that nobody had asked for")
EXPIRED_DROPPED = Counter(
    "cartstream_redis_sink_expired_copies_dropped_total",
    "copies of expired carts that have left Redis, their rows saying the same",
)

FOLLOWED = Counter(
    "cartstream_redis_sink_followed_records_total", "records of `carts`, by what the put did", ("outcome",)
)
FOLLOW_OFFSET = Gauge(
    "cartstream_redis_sink_follow_offset", "next offset of `carts` to follow", ("partition",)
)
FOLLOW_LAG = Gauge(
    "cartstream_redis_sink_follow_lag_records", "end of `carts` less the follow position", ("partition",)
)
FOLLOW_LAG_SECONDS = Gauge(
    "cartstream_redis_sink_follow_lag_seconds",
    "for how long `carts` has had a record behind the follow position, as this process has seen it",
    ("partition",),
)
REWINDS = Counter(
    "cartstream_redis_sink_rewinds_total", "times Redis was found to have gone back to an older copy"
)
UNREADABLE = Counter(
    "cartstream_redis_sink_unreadable_records_total",
    "records of `carts` that cannot be read; the Postgres sink sends them to the dead letters",
)
UNREADABLE_ROWS = Counter(
    "cartstream_redis_sink_unreadable_rows_total",
    "rows of carts that cannot be read, met by warming (these carts stay cold) or by a restoration (which "
    "then reads all of `carts`); the log names them",
)

PRODUCTS = Counter(
    "cartstream_redis_sink_product_records_total",
    "records of `products`: `applied`, `unchanged`, `published_again`",
    ("outcome",),
)
PRODUCTS_OFFSET = Gauge(
    "cartstream_redis_sink_products_offset", "next offset of `products` to follow", ("partition",)
)
PRODUCTS_LAG = Gauge(
    "cartstream_redis_sink_products_lag_records", "end of `products` less the position", ("partition",)
)
PRODUCTS_LAG_SECONDS = Gauge(
    "cartstream_redis_sink_products_lag_seconds",
    "for how long `products` has had a record behind the position, as this process has seen it",
    ("partition",),
)
CATALOGUE_COMPLETE = Gauge(
    "cartstream_redis_sink_catalogue_complete", "1 when the product cache has everything"
)
CATALOGUE_REFILLS = Counter(
    "cartstream_redis_sink_catalogue_refills_total", "times the product cache was found empty or incomplete"
)

WAITS_FOR_ROOM = Gauge(
    "cartstream_redis_sink_waits_for_room",
    "1 while Redis is too full for `products` (a new product) or for `warming`",
    ("part",),
)

PENDING = Gauge(
    "cartstream_redis_sink_pending_carts",
    "carts with changes that `carts` has not covered for a minute",
    ("partition",),
)
REPUBLISHED = Counter(
    "cartstream_redis_sink_republished_changes_total", "changes lost downstream and published again"
)
NOT_REPUBLISHED = Counter(
    "cartstream_redis_sink_not_republished_changes_total",
    "lost changes left alone: `backlog`, `waits` (looked at again); `too_old`, `no_change`, `in_vain`",
    ("why",),
)
# At 0 from the start: for an alert the first loss, and the first after a restart, is a rise only then.
for _why in (*Why, "in_vain"):
    NOT_REPUBLISHED.labels(_why)
