"""Keeps the purge floors of this worker's partitions in their topic: no absent cart below one comes back."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from delivery.app import DeliveryApp
from runtime.kafka.ranges import RangeReader
from streams.decisions import LiftedFloor, Origin
from streams.recovery import Recovery
from topics.codec import encode_purge_floor
from topics.headers import purge_floor_headers
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor, purge_floor_key
from topics.registry import PURGE_FLOORS


class PurgeFloors:
    """Reads the floors of partitions that were assigned, and writes those that a purge lifts."""

    def __init__(self, app: DeliveryApp, recovery: Recovery) -> None:
        """`recovery` has the floors of the partitions as far as they are known."""
        self._app = app
        self._recovery = recovery

    @asynccontextmanager
    async def replaying(self, partitions: Collection[int]) -> AsyncIterator[None]:
        """Read the floors of partitions before their table is read; once it is, all of them count.

        They are written again then, for the last record of a partition may be a lower one of a worker that
        was frozen, and of a cluster from before there may be none.

        Raises ReadStalled and aiokafka's KafkaError.
        """
        if not partitions:
            yield
            return
        async with RangeReader(self._app.settings) as reader:
            written = await read_purge_floors(reader, partitions)
        self._recovery.written = written
        yield
        for partition, floor in written.items():
            self._recovery.raise_floor(partition, floor)
        known = {partition: self._recovery.floor(partition) for partition in partitions}
        await asyncio.gather(
            *(self._write(partition, floor, None) for partition, floor in known.items() if floor)
        )

    async def lift(self, lifted: LiftedFloor) -> None:
        """Write a floor and wait for its acknowledgement: only then its tombstone may be sent.

        A tombstone without its floor would let a late event bring the cart back. Raises aiokafka's
        KafkaError.
        """
        partition = lifted.origin.partition
        await self._write(partition, lifted.purge_floor, lifted.origin)
        self._recovery.raise_floor(partition, lifted.purge_floor)

    async def _write(self, partition: int, floor: int, origin: Origin | None) -> None:
        acknowledged = await self._app.producer.send(
            PURGE_FLOORS.name,
            purge_floor_key(partition),
            encode_purge_floor(PurgeFloor(floor)),
            partition,
            None,
            purge_floor_headers(partition, floor, origin),
        )
        await acknowledged
