"""Compares the three stores, and repairs what differs if that is wanted."""

from collections.abc import Sequence

from ops.copies import RedisCopies, rows
from ops.progress import Bars
from ops.repair import Repair, Repaired
from ops.settings import OpsSettings
from ops.verification import Verification, Verified
from runtime.kafka.ranges import RangeReader
from sinks.postgres.table import CartsTable
from store.redis import CartStore, Layout, PipelinedClient
from topics.publishing import Publisher


async def verify(
    settings: OpsSettings, partitions: Sequence[int], settle_s: float, shown: Bars, *, repair: bool
) -> tuple[Verified, Repaired | None]:
    """What was found, and what was repaired: None unless there was something and `repair` is set.

    What differs counts only if it still does `settle_s` seconds later. Raises what the stores raise.
    """
    layout = Layout(settings.partitions)
    address = settings.postgres_address
    async with (
        RangeReader(settings) as reader,
        PipelinedClient(settings, name="cartstream-verify") as client,
        rows(address) as in_postgres,
    ):
        store = CartStore(client, layout, lifetime=settings.lifetime)
        verification = Verification(
            layout, reader, store, RedisCopies(client, layout), in_postgres, partitions
        )
        verified = await verification.run(shown, settle_s)
        if not (repair and verified.discrepancies):
            return verified, None
        async with CartsTable(address) as table, Publisher(settings) as publisher:
            repairs = Repair(verification.indexes, store, client, layout, table, publisher)
            return verified, await repairs.run(verified.discrepancies, shown)
