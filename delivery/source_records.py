"""What a Faust event says of the record that it was made from."""

from typing import Any

from faust.types import EventT

from topics.dead_letters import SourceRecord


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
