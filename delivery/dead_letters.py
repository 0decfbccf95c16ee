"""Sends records that cannot be processed to the dead-letter topic, unchanged and with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from faust.types import EventT

from delivery import metrics
from topics.headers import dead_letter_headers

if TYPE_CHECKING:
    from delivery.app import DeliveryApp

log = structlog.get_logger(__name__)


class Source(msgspec.Struct, frozen=True):
    """A record that was consumed, and where it stands."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class DeadLetters:
    """Producer of dead letters: key and value of the source record, its headers, and `dlq_*` headers.

    `dlq_error_code` (short, for counting), `dlq_error_detail`, `dlq_source_topic`, `dlq_source_partition`,
    `dlq_source_offset`, `dlq_time` (RFC 3339, UTC), `dlq_agent` (consumer group).
    """

    def __init__(self, app: DeliveryApp, topic: str) -> None:
        self._app = app
        self._topic = topic

    async def refuse(self, event: EventT[Any], code: str, detail: str) -> None:
        """Send the event's record to the dead letters and wait for the acknowledgement.

        If the topic refuses it the exception goes through the agent and ends the process: a record is never
        both unprocessed and not kept.
        """
        message = event.message
        await self.keep(
            Source(
                message.topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                _pairs(message.headers),
            ),
            code,
            detail,
        )

    async def keep(self, record: Source, code: str, detail: str) -> None:
        """As `refuse`, for a record whose event is long processed."""
        future = await self._app.producer.send(
            self._topic,
            record.key,
            record.value,
            None,
            None,
            [
                *record.headers,
                *dead_letter_headers(
                    code, detail, (record.topic, record.partition, record.offset), self._app.conf.id
                ),
            ],
        )
        await future
        metrics.DEAD_LETTERS.labels(record.topic, code).inc()
        log.warning(
            "record.refused",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=code,
            detail=detail,
        )


def _pairs(headers: Any) -> list[tuple[str, bytes]]:
    """Faust hands headers over as a mapping or as pairs."""
    if not headers:
        return []
    return list(headers.items()) if hasattr(headers, "items") else list(headers)
