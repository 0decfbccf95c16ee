"""Dead letters: records that nobody can process, kept unchanged with the reason and where they stood."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import structlog

from topics import metrics
from topics.headers import Headers, dead_letter_headers

log = structlog.get_logger(__name__)


class SourceRecord(msgspec.Struct, frozen=True):
    """A record that was consumed, and where it stands; `offset` is text where that is not a topic."""

    topic: str
    partition: int
    offset: int | str
    key: bytes | None
    value: bytes | None
    headers: Headers = []


class DeadLetterRecord(NamedTuple):
    """A record for `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: Headers


Send = Callable[[DeadLetterRecord], Awaitable[object]]
"""Sends a record to the dead-letter topic and waits for its acknowledgement."""


def dead_letter(source: SourceRecord, code: str, detail: str, agent: str) -> DeadLetterRecord:
    """The dead letter of a record: its key, value and headers, and the `dlq_*` headers beside them.

    `code` is short and for counting, `detail` a sentence, `agent` the consumer group that gives up.
    """
    reason = dead_letter_headers(code, detail, (source.topic, source.partition, source.offset), agent)
    return DeadLetterRecord(source.key, source.value, [*source.headers, *reason])


class DeadLetters:
    """What one agent keeps as dead letters; `send` is how it reaches the topic."""

    def __init__(self, agent: str, send: Send) -> None:
        self._agent = agent
        self._send = send

    async def keep(self, source: SourceRecord, code: str, detail: str) -> None:
        """Send the record to the dead letters and wait for the acknowledgement. Raises what `send` raises."""
        await self._send(dead_letter(source, code, detail, self._agent))
        metrics.DEAD_LETTERS.labels(self._agent, source.topic, code).inc()
        log.warning(
            "record.refused",
            agent=self._agent,
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
            code=code,
            detail=detail,
        )
