"""What the metrics of the processes say: throughput, times, singleton jobs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ops.overview.samples import Buckets, Labels, Samples, Span, quantile, rate, rises, timings

CHANGE_SECONDS: Final = "cartstream_gateway_change_seconds"
_OF_EVERY_GATEWAY: Final = "cartstream_gateway_connections"
_NOT_REPUBLISHED: Final = "cartstream_redis_sink_not_republished_changes_total"
_LOST: Final = ("too_old", "in_vain")
_PREFIX: Final = "cartstream_"
_TIMERS: Final = 40
"""So many rows of times at most, the busiest ones."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long something takes: shares of those that took less, in milliseconds."""

    name: str
    per_s: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Of all gateways, per second over the last seconds; None: no process that is known tells.

    `problems` by type and `durability` of changes: how many within the last minute. `changes_lost`: those
    that `sinks redis` could not publish again, since it was started.
    """

    changes_per_s: float | None
    reads_per_s: float | None
    checkouts_per_s: float | None
    problems_per_s: float | None
    shed_per_s: float | None
    change: Timing | None
    durability: dict[str, float]
    problems: dict[str, float]
    connections: float | None
    in_flight: float | None
    streams: float | None
    breakers_open: int
    deaf: int
    products_stand_still: bool
    redis_full: bool
    changes_lost: int = 0


class Job(msgspec.Struct, frozen=True):
    """A singleton job: which process has it, and for how many seconds it has not been done."""

    name: str
    process: str | None
    done_before_s: float | None


def traffic(short: Sequence[Span], minute: Sequence[Span]) -> Traffic:
    """What the gateways do: rates over the `short` spans, times and kinds over the last `minute`."""
    last = [span.last for span in short]
    # A counter with labels is not there before it has counted anything.
    is_known = any(span.seconds > 0 and span.last.series(_OF_EVERY_GATEWAY) for span in short)

    def per_s(name: str) -> float | None:
        found = rate(short, name)
        return 0.0 if found is None and is_known else found

    return Traffic(
        changes_per_s=per_s("cartstream_gateway_changes_total"),
        reads_per_s=per_s("cartstream_gateway_reads_total"),
        checkouts_per_s=per_s("cartstream_gateway_checkouts_total"),
        problems_per_s=per_s("cartstream_gateway_problems_total"),
        shed_per_s=per_s("cartstream_gateway_requests_shed_total"),
        change=next((each for each in times(minute) if each.name == _name(CHANGE_SECONDS, ())), None),
        durability=rises(minute, "cartstream_gateway_changes_total", "durability"),
        problems=rises(minute, "cartstream_gateway_problems_total", "type"),
        connections=_sum(last, "cartstream_gateway_connections"),
        in_flight=_sum(last, "cartstream_gateway_requests_in_flight"),
        streams=_sum(last, "cartstream_gateway_live_streams"),
        breakers_open=int(_sum(last, "cartstream_gateway_kafka_breaker_open") or 0),
        deaf=int(_sum(last, "cartstream_gateway_live_deaf") or 0),
        products_stand_still=bool(_sum(last, "cartstream_gateway_products_stand_still")),
        redis_full=bool(_sum(last, "cartstream_gateway_redis_full")),
        changes_lost=sum(
            int(count)
            for samples in last
            for why, count in samples.by(_NOT_REPUBLISHED, "why").items()
            if why in _LOST
        ),
    )


def times(minute: Sequence[Span]) -> list[Timing]:
    """What every process measures with a histogram of seconds, by name, without what did not happen."""
    seconds = max((span.seconds for span in minute), default=0.0)
    if not seconds:
        return []
    found = [_timing(name, labels, buckets, seconds) for (name, labels), buckets in timings(minute).items()]
    busiest = sorted(found, key=lambda each: -each.per_s)[:_TIMERS]
    return sorted(busiest, key=lambda each: each.name)


def jobs(latest: Mapping[str, Samples], now_s: float) -> list[Job]:
    """The singleton jobs that the processes tell of, at `now_s` (Unix time)."""
    leaders: dict[str, str] = {}
    done: dict[str, float] = {}
    names: set[str] = set()
    for process, samples in latest.items():
        for job, leads in samples.by("cartstream_jobs_leading", "job").items():
            names.add(job)
            if leads:
                leaders[job] = process
        for job, at in samples.by("cartstream_jobs_last_success_timestamp_seconds", "job").items():
            names.add(job)
            done[job] = max(at, done.get(job, 0.0))
    return [
        Job(name, leaders.get(name), round(max(0.0, now_s - done[name]), 1) if done.get(name) else None)
        for name in sorted(names)
    ]


def _timing(name: str, labels: Labels, buckets: Buckets, seconds: float) -> Timing:
    return Timing(
        name=_name(name, labels),
        per_s=round(max(buckets.values()) / seconds, 2),
        p50_ms=_milliseconds(quantile(0.5, buckets)),
        p90_ms=_milliseconds(quantile(0.9, buckets)),
        p99_ms=_milliseconds(quantile(0.99, buckets)),
    )


def _name(name: str, labels: Labels) -> str:
    words = name.removeprefix(_PREFIX).removesuffix("_seconds").replace("_", " ")
    return " ".join([words, *(value for _, value in labels)])


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def _sum(samples: Iterable[Samples], name: str) -> float | None:
    values = [value for each in samples if (value := each.total(name)) is not None]
    return sum(values) if values else None
