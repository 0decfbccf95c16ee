"""Every metric of the process `sinks redis` beside the dead letters."""

from prometheus_client import Counter, Gauge

RESTORES = Counter("cartstream_redis_sink_restores_total", "Restores of a partition", ("outcome",))
RESTORED = Counter("cartstream_redis_sink_restored_carts_total", "Carts put into Redis by restores")
RESTORING = Gauge("cartstream_redis_sink_restoring", "1 while the partition is restored", ("partition",))
RESTORE_PERCENT = Gauge(
    "cartstream_redis_sink_restore_percent", "Progress of the last restore", ("partition",)
)
RESTORE_SECONDS = Gauge(
    "cartstream_redis_sink_restore_seconds", "Duration of the last restore", ("partition",)
)
COLD = Gauge(
    "cartstream_redis_sink_cold_offset",
    "Offset of carts before which carts may be in their rows only, 0: the partition is warm",
    ("partition",),
)
WARMED = Counter("cartstream_redis_sink_warmed_carts_total", "Carts brought in that nobody had asked for")
EXPIRED_DROPPED = Counter(
    "cartstream_redis_sink_expired_copies_dropped_total", "Copies of expired carts that have left Redis"
)

FOLLOWED = Counter(
    "cartstream_redis_sink_followed_records_total", "Records of carts by what was done", ("outcome",)
)
FOLLOW_OFFSET = Gauge("cartstream_redis_sink_follow_offset", "Next offset of carts to follow", ("partition",))
FOLLOW_LAG = Gauge(
    "cartstream_redis_sink_follow_lag_records", "Log end of carts minus follow offset", ("partition",)
)
REWINDS = Counter("cartstream_redis_sink_rewinds_total", "Times Redis was found rolled back")
UNREADABLE = Counter(
    "cartstream_redis_sink_unreadable_records_total",
    "Records of carts that nobody can read; the Postgres sink makes them dead letters",
)

PRODUCTS = Counter(
    "cartstream_redis_sink_product_records_total", "Records of products by what was done", ("outcome",)
)
PRODUCTS_OFFSET = Gauge(
    "cartstream_redis_sink_products_offset", "Next offset of products to follow", ("partition",)
)
PRODUCTS_LAG = Gauge(
    "cartstream_redis_sink_products_lag_records", "Log end of products minus follow offset", ("partition",)
)
CATALOGUE_COMPLETE = Gauge(
    "cartstream_redis_sink_catalogue_complete", "1 while the product cache is complete"
)
CATALOGUE_REFILLS = Counter(
    "cartstream_redis_sink_catalogue_refills_total", "Times the product cache was found empty or in parts"
)

WAITS_FOR_ROOM = Gauge(
    "cartstream_redis_sink_waits_for_room",
    "1 while Redis is too full for this part of the work (products, warming)",
    ("part",),
)

PENDING = Gauge(
    "cartstream_redis_sink_pending_carts",
    "Carts with changes that carts has not covered for a minute; they are published again once found lost",
    ("partition",),
)
REPUBLISHED = Counter(
    "cartstream_redis_sink_republished_changes_total", "Changes lost downstream and published again: alarm"
)
NOT_REPUBLISHED = Counter(
    "cartstream_redis_sink_not_republished_changes_total",
    "Changes lost downstream and left alone, by why: backlog, waits (these are found again); "
    "too_old, no_change, in_vain (alarm)",
    ("why",),
)
