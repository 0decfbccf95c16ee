"""Makes dead letters of the events that a Faust agent cannot process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faust.types import EventT

from topics.dead_letters import DeadLetterRecord, SourceRecord

if TYPE_CHECKING:
    from delivery.app import DeliveryApp


def source_of(event: EventT[Any]) -> SourceRecord:
    """The record of an event, and where it stands."""
    message = event.message
    return SourceRecord(
        message.topic, message.partition, message.offset, message.key, message.value, headers_of(event)
    )


def headers_of(event: EventT[Any]) -> list[tuple[str, bytes]]:
    """The headers as pairs: Faust hands them over as a mapping, as pairs, or as None."""
    headers: Any = event.message.headers
    return list(headers.items()) if hasattr(headers, "items") else list(headers or ())


async def send_with_faust(app: DeliveryApp, record: DeadLetterRecord) -> None:
    """Send a dead letter with the app's producer and wait for the acknowledgement."""
    future = await app.producer.send(
        app.settings.dead_letter_topic, record.key, record.value, None, None, record.headers
    )
    await future
