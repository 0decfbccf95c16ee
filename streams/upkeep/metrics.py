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


def succeeded(duty: str) -> None:
    """Note that the duty has just done all there was to do."""
    LAST_SUCCESS.labels(duty).set_to_current_time()
