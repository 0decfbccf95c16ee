"""The shared fixtures give servers that work."""

import psycopg
import redis.asyncio
from aiokafka import AIOKafkaProducer


async def test_redis_is_empty_and_takes_writes(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        assert await client.set("key", "value")


async def test_redis_is_empty_again_for_the_next_test(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0


async def test_postgres_gives_an_empty_database(postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        found = await connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert await found.fetchone() == (0,)


async def test_kafka_acknowledges_a_record(kafka_bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all")
    await producer.start()
    try:
        sent = await producer.send_and_wait("local-readiness", b"value", partition=0)
    finally:
        await producer.stop()
    assert sent.offset >= 0
