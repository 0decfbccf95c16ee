"""A gateway says that a topic is missing, and notices when it is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import DEFAULT, AsyncMock
from uuid import uuid4

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from gateway.health import topics
from gateway.health.topics import TopicsCheck
from runtime.settings import KafkaSettings
from tests.support.waiting import until
from topics.apply import require
from topics.registry import CART_CHANGED, PARTITIONS


@asynccontextmanager
async def looking(check: TopicsCheck) -> AsyncIterator[TopicsCheck]:
    check.start()
    try:
        yield check
    finally:
        await check.stop()


async def test_a_missing_topic_is_a_problem_until_it_is_made(kafka: KafkaSettings) -> None:
    spec = msgspec.structs.replace(CART_CHANGED, name=f"missing-{uuid4().hex[:8]}")
    async with looking(TopicsCheck(kafka, PARTITIONS, [spec])) as check:
        await until(lambda: check.problem is not None, "the problem is known")
        assert check.problem is not None
        assert spec.name in check.problem
        assert "cartstream topics apply" in check.problem
        admin = AIOKafkaAdminClient(**kafka.client_options())
        await admin.start()
        try:
            await admin.create_topics([NewTopic(spec.name, PARTITIONS, 1)])
            await until(lambda: check.problem is None, "the topic is found")
        finally:
            await admin.delete_topics([spec.name])
            await admin.close()


async def test_without_kafka_nothing_is_known_to_be_wrong() -> None:
    unreachable = KafkaSettings(kafka_bootstrap="127.0.0.1:1")
    async with looking(TopicsCheck(unreachable, PARTITIONS, [CART_CHANGED])) as check:
        await check.until_looked(0.5)
        assert check.problem is None


async def test_after_an_error_that_nobody_has_foreseen_it_looks_again(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = AsyncMock(side_effect=[AttributeError("a new kind of answer"), DEFAULT], wraps=require)
    monkeypatch.setattr(topics, "require", failing)
    async with looking(TopicsCheck(kafka, PARTITIONS, [CART_CHANGED])) as check:
        await until(lambda: failing.await_count == 2, "it looks again")
        assert check.problem is None
