"""What a worker's probe says of Kafka: it is degraded while Kafka does not answer, and no longer."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaConnectionError

from delivery import liveness
from delivery.app import create_app
from delivery.liveness import Liveness
from delivery.settings import DeliverySettings
from runtime.health import Checks, Health
from tests.support.waiting import until


async def test_a_worker_is_degraded_while_kafka_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "POLL_S", 0.01)
    watch, checks = Liveness(create_app("watched", DeliverySettings())), Checks()
    answers: Iterator[Exception | None] = iter((None, KafkaConnectionError("gone"), None))
    seen: list[tuple[str, str | None]] = []

    async def look() -> None:
        if seen or checks.readiness().checks:
            check = checks.readiness().checks["kafka"]
            seen.append((check.status, check.detail))
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(watch, "look", look)
    watching = asyncio.create_task(watch.watch(checks))
    await until(lambda: len(seen) >= 3, "three looks")
    watching.cancel()
    assert seen[:3] == [
        (Health.OK, None),
        (Health.DEGRADED, "no answer: KafkaConnectionError('gone')"),
        (Health.OK, None),
    ]
