"""Every metric of the gateway, in one place."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The metrics of one process, in a registry of its own: two gateways can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changes = Counter(
            "cartstream_gateway_changes_total",
            "Changes answered, by the durability reached when the reply left",
            ["durability"],
            registry=self.registry,
        )
        self.change_replays = Counter(
            "cartstream_gateway_change_replays_total",
            "Retries recognised by their Idempotency-Key",
            registry=self.registry,
        )
        self.erasures = Counter(
            "cartstream_gateway_erasures_total",
            "Carts erased, by whether every store was seen to have done it (complete, waiting)",
            ["outcome"],
            registry=self.registry,
        )
        self.reads = Counter(
            "cartstream_gateway_reads_total",
            "Carts read, by where the copy came from",
            ["source"],
            registry=self.registry,
        )
        self.problems = Counter(
            "cartstream_gateway_problems_total", "Errors answered, by type", ["type"], registry=self.registry
        )
        self.connections = Gauge(
            "cartstream_gateway_connections",
            "Connections of clients that are open",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "cartstream_gateway_connections_refused_total",
            "Connections refused, by the bound that was reached (all, address)",
            ["bound"],
            registry=self.registry,
        )
        self.connections_cut = Counter(
            "cartstream_gateway_connections_cut_total",
            "Connections closed without an answer (silent: no byte came, unread: the client read nothing)",
            ["reason"],
            registry=self.registry,
        )
        self.requests_in_flight = Gauge(
            "cartstream_gateway_requests_in_flight",
            "Requests that were taken and are not answered yet",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.requests_limit = Gauge(
            "cartstream_gateway_requests_limit",
            "Most requests in flight while a queue stands; 0: there is no limit (several workers: the sum)",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.requests_shed = Counter(
            "cartstream_gateway_requests_shed_total",
            "Requests turned away because the worker has too much to do, by priority (bulk, write, read)",
            ["priority"],
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "cartstream_gateway_rate_limited_total",
            "Requests refused because their caller sends too many, by policy",
            ["policy"],
            registry=self.registry,
        )
        self.change_seconds = Histogram(
            "cartstream_gateway_change_seconds",
            "From the parsed request to the reply of a change",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.hydrations = Counter(
            "cartstream_gateway_hydrations_total",
            "Look-ups in Postgres of carts that Redis lacks, by outcome (row, none, remembered, failed)",
            ["outcome"],
            registry=self.registry,
        )
        self.published_records = Counter(
            "cartstream_gateway_published_records_total",
            "Records acknowledged by Kafka, by who published them",
            ["publisher"],
            registry=self.registry,
        )
        self.publish_failures = Counter(
            "cartstream_gateway_publish_failures_total",
            "Records not acknowledged, by error; the sweeper publishes them again",
            ["error"],
            registry=self.registry,
        )
        self.kafka_breaker_open = Gauge(
            "cartstream_gateway_kafka_breaker_open",
            "1 while changes are answered without waiting for Kafka (several workers: while any does)",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.redis_outbox_entries = Gauge(
            "cartstream_gateway_redis_outbox_entries",
            "Entries of all Redis outboxes when the sweeper last looked",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_outbox_trim_failures = Counter(
            "cartstream_gateway_redis_outbox_trim_failures_total",
            "Batches of published entries that could not be removed; they are published again",
            registry=self.registry,
        )
        self.redis_used_bytes = Gauge(
            "cartstream_gateway_redis_used_bytes",
            "Memory of Redis that counts against its maxmemory",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_max_bytes = Gauge(
            "cartstream_gateway_redis_max_bytes",
            "Redis's maxmemory, 0: none is set",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.redis_full = Gauge(
            "cartstream_gateway_redis_full",
            "1 while only the reserve is left of Redis's memory: what takes more is refused",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.products_stand_still = Gauge(
            "cartstream_gateway_products_stand_still",
            "1 while the product cache does not follow products because Redis is full",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.pricing_hook_requests = Counter(
            "cartstream_gateway_pricing_hook_requests_total",
            "Carts to be priced by the hook, by outcome (answered, failed, skipped: it is known to be dead)",
            ["outcome"],
            registry=self.registry,
        )
        self.pricing_hook_breaker_open = Gauge(
            "cartstream_gateway_pricing_hook_breaker_open",
            "1 while the pricing hook is not asked (several workers: while any does not)",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.checkouts = Counter(
            "cartstream_gateway_checkouts_total",
            "Checkouts answered: placed, replayed (the order was there), opened, joined (it was open), "
            "completed, cancelled; refusals are among the problems",
            ["outcome"],
            registry=self.registry,
        )
        self.checkout_seconds = Histogram(
            "cartstream_gateway_checkout_seconds",
            "From the parsed request to the reply of a checkout",
            buckets=(*_SECONDS, 10.0, 20.0),
            registry=self.registry,
        )
        self.deferred_subtractions = Counter(
            "cartstream_gateway_deferred_subtractions_total",
            "Orders that were placed and that the settlement job has to take out of their carts",
            registry=self.registry,
        )

        self.live_streams = Gauge(
            "cartstream_gateway_live_streams",
            "Streams of carts that are open",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.live_events = Counter(
            "cartstream_gateway_live_events_total",
            "Events sent to streams, by name (cart, merged, stale, unavailable)",
            ["event"],
            registry=self.registry,
        )
        self.live_streams_ended = Counter(
            "cartstream_gateway_live_streams_ended_total",
            "Streams that have ended, by reason (client: gone, slow: did not read, drained, lifetime)",
            ["reason"],
            registry=self.registry,
        )
        self.live_deaf = Gauge(
            "cartstream_gateway_live_deaf",
            "1 while changes of carts are not heard of from Redis (several workers: while any does not)",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

        self.merges = Counter(
            "cartstream_gateway_merges_total",
            "Merges answered: done (in the request), handed_over (to the merge agent), replayed",
            ["outcome"],
            registry=self.registry,
        )
        self.merge_seconds = Histogram(
            "cartstream_gateway_merge_seconds",
            "From the parsed request to the reply of a merge",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """All values in Prometheus's text format; of all workers together where there are several."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
