"""Tallied metrics say what the library's own say, once they are settled."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.tallies import TalliedCounter, TalliedHistogram

BUCKETS = (0.125, 1.0, 8.0)  # and what is observed: sums are the same in any order


def exposed(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.0625, 0.125, 0.5, 8.0, 9.0]))))
def test_a_tallied_histogram_says_what_the_librarys_own_says(observed: list[tuple[str, float]]) -> None:
    registry, tallied_registry = CollectorRegistry(), CollectorRegistry()
    own = Histogram("x", "x", ["kind"], buckets=BUCKETS, registry=registry)
    tallied = TalliedHistogram("x", "x", ["kind"], buckets=BUCKETS, registry=tallied_registry)
    for number, (kind, amount) in enumerate(observed):
        own.labels(kind).observe(amount)
        tallied.labels(kind).observe(amount)
        if number % 3 == 0:
            tallied.settle()
    tallied.settle()
    assert exposed(tallied_registry) == exposed(registry)


def test_a_tallied_counter_counts_what_was_noted_once() -> None:
    registry = CollectorRegistry()
    counter = TalliedCounter("x", "x", ["kind"], registry=registry)
    counter.labels("a").inc()
    counter.labels("a").inc(2)
    assert registry.get_sample_value("x_total", {"kind": "a"}) == 0
    counter.settle()
    counter.settle()
    assert registry.get_sample_value("x_total", {"kind": "a"}) == 3
