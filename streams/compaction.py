"""The compaction agent: folds `cart-changed` into the table behind `carts`, as `decisions` decides."""

from functools import partial
from typing import Any, Final, cast

import faust

from carts.fold import Verdict
from delivery.app import DeliveryApp, create_app
from delivery.consumption import events
from streams import metrics
from streams.decisions import ChangeSource, Rules, decide
from streams.recovery import Recovery
from streams.settings import StreamsSettings
from topics.groups import COMPACTION
from topics.partitioner import partition_of
from topics.records import purge_floor_key
from topics.registry import CART_CHANGED, CARTS

LINGER_S: Final = 0.05
"""Time to collect records for a request. Without it each has one or two, and costs more than the fold."""


def create_compaction(settings: StreamsSettings) -> DeliveryApp:
    """The app of the compaction agent. Connects to nothing."""
    app = create_app(COMPACTION, settings)
    app.conf.producer_linger = LINGER_S
    app.conf.producer_compression_type = cast("str", CARTS.compression)  # Faust takes None, too
    recovery = Recovery(settings.partitions)
    carts = app.changelog_table(
        CARTS.name, keep=recovery.keep, headers_of=recovery.headers_of, opened=recovery.opened
    )
    rules = Rules(retention_us=settings.retention_us, max_bytes=settings.max_record_bytes)
    counted = {verdict: metrics.EVENTS.labels(verdict) for verdict in Verdict}
    right_partition = partial(partition_of, partitions=settings.partitions)

    async def compact(stream: faust.StreamT[Any]) -> None:
        async for event in events(stream, right_partition):
            message = event.message
            key = cast("bytes", message.key)  # `events` has refused records without one
            floor_key = purge_floor_key(message.partition)
            # The table's own floor record, or a higher one that the replay has read.
            purge_floor = recovery.note_floor(floor_key, carts.lookup(event, floor_key))
            source = ChangeSource(key, message.value, message.partition, message.offset)
            decision = decide(carts.lookup(event, key), purge_floor, source, rules)
            counted[decision.verdict].inc()
            if decision.refusal is not None:
                await app.refuse(event, decision.refusal.code, decision.refusal.detail)
            for emission in decision.emissions:
                metrics.RECORD_BYTES.observe(len(emission.value or b""))
                await carts.emit(event, emission.key, emission.value, emission.headers)

    app.agent(app.source(CART_CHANGED.name), name="compaction")(compact)
    return app
