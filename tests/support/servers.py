"""The servers of a test session, and where they answer."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from runtime.settings import KafkaSettings
from tests.support.databases import migrated_database
from topics.apply import apply
from topics.registry import PARTITIONS

GIVEN: Final = {
    KAFKA: "CARTSTREAM_TEST_KAFKA_BOOTSTRAP",
    REDIS: "CARTSTREAM_TEST_REDIS_URL",
    POSTGRES: "CARTSTREAM_TEST_POSTGRES_URL",
}


class Servers:
    """Finds or starts the session's servers, one at a time, when first asked for."""

    def __init__(self, stack: EmbeddedStack, cleanup: ExitStack) -> None:
        self._stack = stack
        self._cleanup = cleanup
        self._given: dict[str, str] = {
            name: os.environ[variable] for name, variable in GIVEN.items() if variable in os.environ
        }

    def url(self, name: str) -> str:
        """The address of a server that answers."""
        if name not in self._given and os.environ.get("CARTSTREAM_TEST_DOCKER") == "1":
            # Only here: the import takes a second that most runs need not spend.
            from tests.support.containers import container_url  # noqa: PLC0415

            self._given[name] = container_url(name, self._cleanup)
        if name in self._given:
            return self._given[name]
        self._stack.ensure(name)
        urls = self._stack.urls
        return {KAFKA: urls.kafka_bootstrap, REDIS: urls.redis, POSTGRES: urls.postgres}[name]


class Urls(NamedTuple):
    """Where the servers behind a process answer; Kafka has the topics, the database the schema."""

    kafka_bootstrap: str
    redis: str
    postgres: str

    @property
    def kafka(self) -> KafkaSettings:
        """The settings of a client of this broker."""
        return KafkaSettings(kafka_bootstrap=self.kafka_bootstrap)

    def environment(self) -> dict[str, str]:
        """A process's variables for them."""
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": self.redis,
            "CARTSTREAM_POSTGRES_URL": self.postgres,
        }


def with_topics(kafka_bootstrap: str) -> KafkaSettings:
    """The settings of the broker's clients, once it has the product's topics."""
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    asyncio.run(apply(settings, partitions=PARTITIONS, allow_single=True))
    return settings


@contextmanager
def prepared(kafka_bootstrap: str, redis_url: str, postgres: str) -> Iterator[Urls]:
    """Servers with topics, and with a migrated database that goes away afterwards."""
    with_topics(kafka_bootstrap)
    with migrated_database(postgres) as url:
        yield Urls(kafka_bootstrap, redis_url, url)


@contextmanager
def prepared_embedded(stack: EmbeddedStack) -> Iterator[Urls]:
    """The embedded servers, whatever else is given, prepared: tests may hurt them if they heal them."""
    stack.ensure(KAFKA, REDIS, POSTGRES)
    with prepared(stack.urls.kafka_bootstrap, stack.urls.redis, stack.urls.postgres) as urls:
        yield urls
