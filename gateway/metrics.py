"""Every metric of the gateway, in one place."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.tallies import TalliedCounter, TalliedHistogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class Metrics:
    """The metrics of one process, in a registry of its own: two gateways can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_seconds = TalliedHistogram(
            "cartstream_gateway_request_seconds",
            "from the head of a request to its reply, by route (`none`: no route answers it) and class of "
            "status (`2xx`); without waiting for its body, and without requests turned away unread",
            ["route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.changes = TalliedCounter(
            "cartstream_gateway_changes_total",
            "changes answered, by the durability reached when the reply was sent",
            ["durability"],
            registry=self.registry,
        )
        self.change_seconds = TalliedHistogram(
            "cartstream_gateway_change_seconds",
            "from the parsed request to the reply of a change that was made",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.change_replays = Counter(
            "cartstream_gateway_change_replays_total",
            "retries recognised by their Idempotency-Key",
            registry=self.registry,
        )
        self.erasures = Counter(
            "cartstream_gateway_erasures_total",
            "carts erased: `complete` (every store was seen to have done it), `waiting`",
            ["outcome"],
            registry=self.registry,
        )
        self.reads = TalliedCounter(
            "cartstream_gateway_reads_total",
            "carts read: `redis`, `postgres`, `stale` (Postgres, while Redis is not complete), "
            "`nowhere` (no such cart)",
            ["source"],
            registry=self.registry,
        )
        self.problems = Counter(
            "cartstream_gateway_problems_total",
            "errors answered, by problem type",
            ["type"],
            registry=self.registry,
        )
        self.connections = Gauge(
            "cartstream_gateway_connections",
            "connections of clients that are open",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "cartstream_gateway_connections_refused_total",
            "connections answered 503 because the worker (`all`) or the client's address "
            "(`address`) had as many as it may",
            ["bound"],
            registry=self.registry,
        )
        self.connections_cut = Counter(
            "cartstream_gateway_connections_cut_total",
            "connections closed without an answer: `silent` (no byte came), `unread` (the client "
            "read nothing). Refused requests are problems",
            ["reason"],
            registry=self.registry,
        )
        self.requests_in_flight = Gauge(
            "cartstream_gateway_requests_in_flight",
            "requests that were taken and are not answered yet",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.requests_limit = Gauge(
            "cartstream_gateway_requests_limit",
            "most requests in flight, while a queue stands; 0: there is no limit",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.requests_shed = Counter(
            "cartstream_gateway_requests_shed_total",
            "requests turned away: `bulk`, `write`, `read`",
            ["priority"],
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "cartstream_gateway_rate_limited_total",
            "requests refused by a rate limit: `address`, `shopper`, `service`, `mint`, `products`",
            ["policy"],
            registry=self.registry,
        )
        self.hydrations = Counter(
            "cartstream_gateway_hydrations_total",
            "carts looked up in Postgres: `row`, `none`, `remembered` (that there is none), `failed`",
            ["outcome"],
            registry=self.registry,
        )
        self.published_records = Counter(
            "cartstream_gateway_published_records_total",
            "records acknowledged by Kafka, published by `gateway` or `sweeper`",
            ["publisher"],
            registry=self.registry,
        )
        self.publish_failures = Counter(
            "cartstream_gateway_publish_failures_total",
            "records not acknowledged; the sweeper publishes them again",
            ["error"],
            registry=self.registry,
        )
        self.publish_seconds = Histogram(
            "cartstream_gateway_publish_seconds",
            "time until a broker has answered a request with changes",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.kafka_breaker_open = Gauge(
            "cartstream_gateway_kafka_breaker_open",
            "1 while changes are answered without waiting for Kafka",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.redis_outbox_entries = Gauge(
            "cartstream_gateway_redis_outbox_entries",
            "entries of all Redis outboxes when the sweeper last looked",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_outbox_bytes = Gauge(
            "cartstream_gateway_redis_outbox_bytes",
            "bytes that the entries of all Redis outboxes take",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_outbox_oldest_seconds = Gauge(
            "cartstream_gateway_redis_outbox_oldest_seconds",
            "age of the oldest entry of a Redis outbox, by Redis's clock",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_outbox_trim_failures = Counter(
            "cartstream_gateway_redis_outbox_trim_failures_total",
            "batches of published entries that could not be removed; they are published again",
            registry=self.registry,
        )
        self.redis_seconds = Histogram(
            "cartstream_gateway_redis_seconds",
            "time until Redis has answered the commands and scripts of one turn of the event loop",
            buckets=(0.00025, 0.0005, *_SECONDS),
            registry=self.registry,
        )
        self.redis_clock_offset_seconds = Gauge(
            "cartstream_gateway_redis_clock_offset_seconds",
            "how far the gateway's clock is ahead of Redis's; in a cluster, of the server that differs most",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_used_bytes = Gauge(
            "cartstream_gateway_redis_used_bytes",
            "memory of Redis that counts against its `maxmemory`; in a cluster, of the fullest server",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_max_bytes = Gauge(
            "cartstream_gateway_redis_max_bytes",
            "Redis's `maxmemory`; 0: none is set",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_full = Gauge(
            "cartstream_gateway_redis_full",
            "1 while only the reserve is left: what takes more memory is refused",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.products_stand_still = Gauge(
            "cartstream_gateway_products_stand_still",
            "1 while the product cache does not follow `products` because Redis is full",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.pricing_hook_requests = Counter(
            "cartstream_gateway_pricing_hook_requests_total",
            "carts for the pricing hook: `answered`, `failed`, `skipped` (its breaker is open)",
            ["outcome"],
            registry=self.registry,
        )
        self.pricing_hook_breaker_open = Gauge(
            "cartstream_gateway_pricing_hook_breaker_open",
            "1 while the pricing hook is not asked",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.checkouts = Counter(
            "cartstream_gateway_checkouts_total",
            "checkouts answered: `placed`, `replayed`, `opened`, `joined` (it was open already), "
            "`completed`, `cancelled`; refusals are problems",
            ["outcome"],
            registry=self.registry,
        )
        self.checkout_stage_seconds = Histogram(
            "cartstream_gateway_checkout_stage_seconds",
            "parts of checkouts, in their order, also of those that fail: `replay` (is there such an "
            "order?), `lock`, `snapshot` (until the cart's row has every change), `price` (its hook), "
            "`order` (the transaction), `stock` (within it), `subtract` (out of the cart), `publish` (that, "
            "to Kafka)",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.deferred_subtractions = Counter(
            "cartstream_gateway_deferred_subtractions_total",
            "orders left to the settlement job",
            registry=self.registry,
        )

        self.live_streams = Gauge(
            "cartstream_gateway_live_streams",
            "streams that are open",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.live_events = Counter(
            "cartstream_gateway_live_events_total",
            "events sent to streams: `cart`, `merged`, `stale`, `unavailable`",
            ["event"],
            registry=self.registry,
        )
        self.live_streams_ended = Counter(
            "cartstream_gateway_live_streams_ended_total",
            "streams that have ended: `client` (it has gone), `slow` (it did not read), `drained`, "
            "`lifetime`",
            ["reason"],
            registry=self.registry,
        )
        self.live_deaf = Gauge(
            "cartstream_gateway_live_deaf",
            "1 while the gateway does not hear from Redis which carts change",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.merges = Counter(
            "cartstream_gateway_merges_total",
            "merges answered: `done` (in the request), `handed_over` (to the merge agent), `replayed`",
            ["outcome"],
            registry=self.registry,
        )

    def settle(self) -> None:
        """Take over what was tallied since the last time."""
        for tallied in (self.request_seconds, self.change_seconds, self.changes, self.reads):
            tallied.settle()

    def exposition(self) -> bytes:
        """All values in Prometheus's text format; of all workers together where there are several."""
        self.settle()
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
