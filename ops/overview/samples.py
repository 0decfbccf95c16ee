"""What a process says at `/metrics`, and what follows from two such answers: rates and percentiles. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted."""

Series = Mapping[Labels, float]
"""The values of one metric."""

_READ: Final = ("cartstream_", "process_")
_BUCKET: Final = "_bucket"
_BOUND: Final = "le"


@lru_cache(maxsize=1 << 16)
def _same(labels: Labels) -> Labels:
    """One object for equal labels: a minute of samples repeats them again and again."""
    return labels


class Samples:
    """The metrics of one process at one moment (monotonic seconds). A metric that it lacks is empty."""

    def __init__(self, text: str, at_s: float) -> None:
        """Raises ValueError for what is not Prometheus's text format."""
        self.at_s: Final = at_s
        self._series: Final[dict[str, dict[Labels, float]]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            if family.name.startswith(_READ):
                for sample in family.samples:
                    self._series[sample.name][_same(tuple(sorted(sample.labels.items())))] = sample.value

    def series(self, name: str) -> Series:
        """All values of a metric, by their labels."""
        return self._series.get(name, {})

    def total(self, name: str) -> float | None:
        """The sum of a metric's values; None if it is not there."""
        series = self.series(name)
        return sum(series.values()) if series else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums of a metric by the values of one label."""
        sums: defaultdict[str, float] = defaultdict(float)
        for labels, value in self.series(name).items():
            sums[dict(labels).get(label, "")] += value
        return dict(sums)

    @property
    def timers(self) -> list[str]:
        """The histograms of seconds, by the names of their metrics."""
        ending = f"_seconds{_BUCKET}"
        return [name.removesuffix(_BUCKET) for name in self._series if name.endswith(ending)]


class Span(NamedTuple):
    """Two answers of one process."""

    first: Samples
    last: Samples

    def increases(self, name: str) -> dict[Labels, float]:
        """By how much each value of a counter has risen; a process that was started anew began at 0."""
        before = self.first.series(name)
        return {
            labels: value - before.get(labels, 0.0) if value >= before.get(labels, 0.0) else value
            for labels, value in self.last.series(name).items()
        }

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.last.at_s - self.first.at_s


def rate(spans: Iterable[Span], name: str, **labels: str) -> float | None:
    """The sum of a counter's rates per second, of those values that have the labels; None: not known."""
    rates = [
        sum(rise for found, rise in span.increases(name).items() if labels.items() <= set(found))
        / span.seconds
        for span in spans
        if span.seconds > 0 and span.last.series(name)
    ]
    return sum(rates) if rates else None


def rises(spans: Iterable[Span], name: str, label: str) -> dict[str, float]:
    """By how much a counter has risen, by the values of one label; without those that have not."""
    sums: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        for labels, rise in span.increases(name).items():
            sums[dict(labels).get(label, "")] += rise
    return {value: rise for value, rise in sums.items() if rise}


Buckets = Mapping[float, float]
"""The counts of a histogram by upper bound, each with those below it."""


def timings(spans: Iterable[Span], only: str | None = None) -> dict[tuple[str, Labels], Buckets]:
    """What the histograms of seconds have counted, all processes together, by name and other labels.

    `only` is the name of the one that is wanted.
    """
    sums: defaultdict[tuple[str, Labels], defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    for span in spans:
        for name in span.last.timers if only is None else (only,):
            for labels, rise in span.increases(f"{name}{_BUCKET}").items():
                others = tuple(pair for pair in labels if pair[0] != _BOUND)
                sums[name, others][float(dict(labels)[_BOUND])] += rise
    return {key: dict(buckets) for key, buckets in sums.items() if max(buckets.values())}


def quantile(share: float, buckets: Buckets) -> float | None:
    """Below which value that share of what was counted is, even within a bucket; None if nothing was.

    Above the last finite bound it is that bound: more is not known.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted = share * buckets[bounds[-1]]
    below, counted = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted and buckets[bound] > counted:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted - counted) / (buckets[bound] - counted)
        below, counted = bound, buckets[bound]
    return below
