"""Ends aiokafka producers within a bound, and all of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from runtime.kafka.internals import drop_unsent, sender_task

log = structlog.get_logger(__name__)

_CANCELLED_WITHIN_S: Final = 1.0


async def stop_within(producer: AIOKafkaProducer, seconds: float) -> None:
    """Let the producer flush for so long, and disconnect it; what is not acknowledged by then is dropped.

    aiokafka's `stop` flushes first. Cut off there it would leave tasks and connections for the life of the
    process, which go on sending.
    """
    try:
        async with asyncio.timeout(seconds):
            await producer.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        log.warning("kafka.producer_stopped_uncleanly", error=repr(error))
        sender = sender_task(producer)
        if sender is not None:
            sender.cancel()
            await asyncio.wait({sender}, timeout=_CANCELLED_WITHIN_S)
        drop_unsent(producer, KafkaError("the producer has been stopped"))
        with suppress(KafkaError, OSError):
            await producer.client.close()
