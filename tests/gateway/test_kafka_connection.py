"""The connection to Kafka and its breaker, without any request."""

from prometheus_client import CollectorRegistry, Gauge

from gateway.outbox.producer import ProducerConnection
from gateway.resilience.breaker import Breaker
from runtime.settings import KafkaSettings
from tests.support.waiting import until


async def test_the_breaker_closes_without_traffic_once_kafka_answers(kafka_bootstrap: str) -> None:
    breaker = Breaker(Gauge("open", "open", registry=CollectorRegistry()))
    connection = ProducerConnection(KafkaSettings(kafka_bootstrap=kafka_bootstrap), breaker)
    connection.start()

    async def is_connected() -> bool:
        return connection.producer is not None

    async def is_closed() -> bool:
        return not breaker.is_open

    try:
        await until(is_connected, "connected")
        breaker.failed()
        assert breaker.is_open
        await until(is_closed, "closed")
    finally:
        await connection.stop()


async def test_a_producer_whose_client_has_died_is_replaced(kafka_bootstrap: str) -> None:
    breaker = Breaker(Gauge("open", "open", registry=CollectorRegistry()))
    connection = ProducerConnection(KafkaSettings(kafka_bootstrap=kafka_bootstrap), breaker)
    connection.start()
    first = None

    async def is_connected() -> bool:
        return connection.producer is not first

    try:
        await until(is_connected, "connected")
        first = connection.producer
        assert first is not None
        first.client._sync_task.cancel()  # noqa: SLF001
        await until(is_connected, "connected anew")
    finally:
        await connection.stop()
