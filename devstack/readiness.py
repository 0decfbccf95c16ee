"""Readiness is work done, not an open port: a write, a query, a record sent and read back, a page served."""

import asyncio
import urllib.error
import urllib.request
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import msgspec
import psycopg
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from redis.exceptions import OutOfMemoryError, RedisError

from devstack.spec import NotReadyError

PROBE_TOPIC = "local-readiness"
PROBE_KEY = "local:readiness"
PROBE_SECONDS = 5.0


async def redis_writes(url: str) -> None:
    """Ready when a key can be written, or when only the memory for it is missing."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=PROBE_SECONDS)
    try:
        with suppress(OutOfMemoryError):
            await client.set(PROBE_KEY, "1", ex=60)
    except (RedisError, OSError) as error:
        raise NotReadyError(str(error)) from error
    finally:
        await client.aclose()


async def postgres_answers(url: str) -> None:
    """Ready when a query is answered, so after crash recovery too."""
    try:
        async with await psycopg.AsyncConnection.connect(
            url, connect_timeout=int(PROBE_SECONDS)
        ) as connection:
            await connection.execute("SELECT 1")
    except psycopg.Error as error:
        raise NotReadyError(str(error)) from error


async def kafka_produces(bootstrap: str) -> None:
    """Ready when a record is acknowledged and read back."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await _accepts_connections(bootstrap)
            await _ensure_probe_topic(bootstrap)
            await _round_trip(bootstrap)
    except (KafkaError, OSError, TimeoutError) as error:
        raise NotReadyError(str(error)) from error


async def _accepts_connections(bootstrap: str) -> None:
    # Asked first: aiokafka logs an error for each refused connection, and while a broker starts all are.
    host, port = bootstrap.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await writer.wait_closed()


async def _ensure_probe_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        topic = NewTopic(PROBE_TOPIC, 1, 1, topic_configs={"retention.ms": "600000"})
        reply = await admin.create_topics([topic])
        for _name, code, *_rest in reply.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)
    finally:
        await admin.close()


async def _round_trip(bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    try:
        await producer.start()
        sent = await producer.send_and_wait(PROBE_TOPIC, b"ready", partition=0)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    try:
        await consumer.start()
        partition = TopicPartition(PROBE_TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        await consumer.getone(partition)
    finally:
        await consumer.stop()


def weaknesses(gateway_url: str) -> list[str]:
    """What makes a gateway degraded, a line for each check. In production mode it does not tell."""
    try:
        with urllib.request.urlopen(f"{gateway_url}/health/ready", timeout=PROBE_SECONDS) as response:  # noqa: S310
            checks = msgspec.json.decode(response.read(), type=_Readiness).checks
    except (urllib.error.URLError, OSError, msgspec.MsgspecError):
        return []
    return [f"{name}: {check.detail}" for name, check in checks.items() if check.detail]


class _Check(msgspec.Struct):
    detail: str | None = None


class _Readiness(msgspec.Struct):
    checks: dict[str, _Check] = {}


async def http_answers(url: str) -> None:
    """Ready when `url` answers 200."""
    await asyncio.to_thread(_get, url)


def _get(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as response:  # noqa: S310  our own address
            if response.status != HTTPStatus.OK:
                raise NotReadyError(f"{url} answered {response.status}")
    except (urllib.error.URLError, OSError) as error:
        raise NotReadyError(str(error)) from error


async def file_touched(path: Path) -> None:
    """Ready when the process has made its CARTSTREAM_READY_FILE."""
    if not path.exists():
        raise NotReadyError(f"{path} is not there yet")


async def never() -> None:
    """For tasks: they are ready when they have ended well, not before."""
    raise NotReadyError("still running")
