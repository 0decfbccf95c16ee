"""Test servers out of containers, for CARTSTREAM_TEST_DOCKER=1."""

from contextlib import ExitStack

from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer

from devstack.settings import KAFKA, POSTGRES, REDIS


def container_url(name: str, cleanup: ExitStack) -> str:
    """Starts a server in a container that `cleanup` removes; returns its address."""
    if name == KAFKA:
        kafka = cleanup.enter_context(KafkaContainer("apache/kafka:4.3.1"))
        return str(kafka.get_bootstrap_server())
    if name == POSTGRES:
        postgres = cleanup.enter_context(PostgresContainer("postgres:18", driver=None))
        return str(postgres.get_connection_url())
    if name == REDIS:
        redis = cleanup.enter_context(RedisContainer("valkey/valkey:9.1"))
        return f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
    raise ValueError(name)
