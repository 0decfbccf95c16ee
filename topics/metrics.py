"""The metrics that every process has which reads or writes topics."""

from prometheus_client import Counter

DEAD_LETTERS = Counter(
    "cartstream_dead_letters_total",
    "Records that nobody can process, by the agent that gave up, source topic and error code",
    ("agent", "topic", "code"),
)
