"""Test servers out of containers, for CARTSTREAM_TEST_DOCKER=1.

The images are those of docker-compose.yml, and the same variables name others: KAFKA_IMAGE, POSTGRES_IMAGE,
VALKEY_IMAGE.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer

from devstack.free_ports import free_ports
from devstack.readiness import kafka_produces, postgres_answers, redis_writes
from devstack.settings import KAFKA, POSTGRES, REDIS
from devstack.spec import NotReadyError
from tests.support.waiting import until


def container_url(name: str, cleanup: ExitStack) -> str:
    """Starts a server in a container that `cleanup` removes; returns its address when it works."""
    if name == KAFKA:
        port = free_ports(1)[0]
        kafka = cleanup.enter_context(_kafka(os.environ.get("KAFKA_IMAGE", "apache/kafka:4.3.1"), port))
        return _working(f"{kafka.get_container_host_ip()}:{port}", kafka_produces)
    if name == POSTGRES:
        image = os.environ.get("POSTGRES_IMAGE", "postgres:18")
        postgres = cleanup.enter_context(PostgresContainer(image, driver=None))
        return _working(str(postgres.get_connection_url()), postgres_answers)
    if name == REDIS:
        image = os.environ.get("VALKEY_IMAGE", "valkey/valkey:9.1")
        redis = cleanup.enter_context(RedisContainer(image))
        url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
        return _working(url, redis_writes)
    raise ValueError(name)


def _kafka(image: str, port: int) -> DockerContainer:
    """One broker that tells clients to come to `port` of this host.

    The class that testcontainers has is for another vendor's image.
    """
    container = DockerContainer(image).with_bind_ports(9092, port)
    for variable, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,BROKER://:9094,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{container.get_docker_client().host()}:{port},BROKER://localhost:9094",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # As the embedded broker: tests rely on it.
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_MESSAGE_MAX_BYTES": "1500000",
        "KAFKA_REPLICA_FETCH_MAX_BYTES": "1500000",
        "KAFKA_LOG_INDEX_SIZE_MAX_BYTES": "1048576",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    }.items():
        container.with_env(variable, value)
    return container


def _working(url: str, works: Callable[[str], Awaitable[None]]) -> str:
    async def does() -> bool:
        try:
            await works(url)
        except NotReadyError:
            return False
        return True

    asyncio.run(until(does, f"{url} works"))
    return url
