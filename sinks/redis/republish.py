"""Publishes operations again that Redis has and `carts` lacks, guarded so that none counts twice."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from carts.operations import Change, Operation
from carts.protocol import may_republish, publish_allowed
from carts.state import made_by_the_fold
from store.redis import Layout, PendingCompaction
from topics.publishing import Publisher


class Why(StrEnum):
    """Why an operation was left alone."""

    BACKLOG = "backlog"
    """Nothing overtakes an outbox entry that is older than the publish deadline."""
    WAITS = "waits"
    """It is in the outbox, whose sweeper publishes it."""
    TOO_OLD = "too_old"
    """A retry or the floor may be newer: it is unknown whether the operation counts already."""
    NO_CHANGE = "no_change"
    """An entry made by the fold itself; it changes nothing."""


class Left(msgspec.Struct, frozen=True):
    """An operation that was left alone, and why."""

    cart_id: str
    operation: Operation
    why: Why


class Republished(msgspec.Struct, frozen=True):
    """The operations that were published again, by cart, and the others."""

    done: dict[str, list[Operation]]
    left: list[Left]


class Republisher:
    """Publishes again under a name: `cause` in the records, `source` in their headers."""

    def __init__(
        self, pending: PendingCompaction, publisher: Publisher, layout: Layout, *, cause: str, source: str
    ) -> None:
        """`pending` and `publisher` are connected and belong to the caller."""
        self._pending = pending
        self._publisher = publisher
        self._layout = layout
        self._cause = cause
        self._source = source

    async def republish(self, partition: int, operations: Mapping[str, Sequence[Operation]]) -> Republished:
        """Publish those operations of a partition's carts that may be published. Doing it twice is harmless.

        Raises StoreError, KafkaError, TimeoutError; some may be published then.
        """
        backlog_us = (await self._pending.backlog_us([partition]))[partition]
        waiting = await self._pending.in_outbox(partition)
        now_us = await self._pending.time_us(partition)
        done: dict[str, list[Operation]] = {}
        left: list[Left] = []
        for cart_id, some in operations.items():
            for operation in some:
                in_outbox = (operation.version, operation.op_id) in waiting
                if made_by_the_fold(operation):
                    left.append(Left(cart_id, operation, Why.NO_CHANGE))
                elif in_outbox:
                    left.append(Left(cart_id, operation, Why.WAITS))
                elif not may_republish(operation.version, now_us, in_outbox=in_outbox):
                    left.append(Left(cart_id, operation, Why.TOO_OLD))
                elif not publish_allowed(backlog_us):
                    left.append(Left(cart_id, operation, Why.BACKLOG))
                else:
                    done.setdefault(cart_id, []).append(operation)
        changes = [
            change_again(cart_id, operation, self._cause)
            for cart_id, some in done.items()
            for operation in some
        ]
        # With the time of the checks above: if this process freezes before it sends, the broker refuses.
        await self._publisher.publish_changes(
            changes, self._layout.partitions, source=self._source, at_ms=now_us // 1000
        )
        return Republished(done, left)


def change_again(cart_id: str, operation: Operation, cause: str) -> Change:
    """The record of an operation, again. Without what its request knew: so it overrules no expiry."""
    return Change(
        cart_id=cart_id,
        version=operation.version,
        op_id=operation.op_id,
        fingerprint=operation.fingerprint,
        delta=operation.delta,
        cause=cause,
    )
