"""The metrics that every process has which reads or writes topics."""

from prometheus_client import Counter

DEAD_LETTERS = Counter(
    "cartstream_dead_letters_total",
    "records sent to the dead letters: by whom, from which topic, why",
    ("agent", "topic", "code"),
)
