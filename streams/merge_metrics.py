"""Every metric of the merge agent beside those of `delivery` and the dead letters."""

from prometheus_client import Counter

MERGES = Counter(
    "cartstream_merge_agent_merges_total",
    "merges carried on: `done`, `left` (to be handed over again), `unknown` (forgotten since)",
    ["outcome"],
)
