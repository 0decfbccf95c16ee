"""A model of the whole protocol: one cart, one partition, random histories, the product's own decisions.

What is real here and what is not: every *decision* is the product's own pure function (`carts.fold.fold`,
`carts.state.union`, `carts.content.apply`, `carts.protocol.*`). Redis, Kafka, Postgres and the processes
around them are a few lines each, written so that everything that can go wrong between two steps can go
wrong here: any process dies or freezes, Redis is wiped or falls back to an older copy, requests are
retried, publishes repeat, records slip out of a dead worker.

A *schedule* is a list of (action, pick): an action such as `write`, `publish`, `failover`, and a small
number that says which of several (which request, how old a copy). `schedules.py` makes random ones by
*kind*; `run.py` plays them, lets everything come to rest, and `checks.py` then says what is wrong:

    acknowledged changes are in the cart, each exactly once; `carts`, Redis and Postgres agree; the cart is
    the fold of the log; a version names one content and never falls.

    python -m tests.model --seeds 2000            all kinds, what was exercised, expect 0 failures
    python -m tests.model --kinds wipe --seed 17  one history, step by step
    python -m tests.model --ablate                take each rule away; print the shrunk history that breaks it

| file | holds |
|---|---|
| `world.py` | clock, the two topics, the Postgres row, what clients asked and were told |
| `redis_mirror.py` | the partition's keys in Redis and the scripts, as pure functions |
| `gateway.py` | requests, retries, publishing, acknowledgements, the outbox sweeper |
| `cold_carts.py` | carts that Redis lacks: looks for their rows, hydration, what readers are shown |
| `streams.py` | compaction with its table, changelog and zombies; expiry, trims |
| `sinks.py` | Postgres sink, follow, anti-entropy |
| `restoring.py`, `tail.py`, `tail_kinds.py`, `tail_ablations.py` | restoring, from a tail or all; warming |
| `checkout.py` | orders and their subtraction |
| `merge.py`, `merge_history.py`, `merge_kinds.py`, `merge_ablations.py` | carts that are merged into others |
| `trim_kinds.py`, `trim_ablations.py` | idle carts that are trimmed |
| `faults.py` | what happens to Redis, to the topics and to the clock |
| `schedules.py`, `run.py`, `checks.py` | kinds, playing, shrinking, judging |
| `ablations.py` | the table: guard, how it is taken away, what then fails |
"""
