"""The servers of a test session, and where they answer."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES, REDIS
from runtime.settings import KafkaSettings
from store.postgres.migrate import migrate
from store.postgres.roles import Role
from store.postgres.session import PUBLIC, Address
from tests.support.databases import empty_database, migrated_database, with_parameters
from tests.support.monolith import SCHEMA, Monolith
from tests.support.roles import as_role
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
        if name not in self._given and _in_containers():
            # Only here: the import takes a second that most runs need not spend.
            from tests.support.containers import container_url  # noqa: PLC0415

            self._given[name] = container_url(name, self._cleanup)
        if name in self._given:
            return self._given[name]
        self._stack.ensure(name)
        urls = self._stack.urls
        return {KAFKA: urls.kafka_bootstrap, REDIS: urls.redis, POSTGRES: urls.postgres}[name]


def are_embedded() -> bool:
    """Whether the session's servers are local processes of its own, all of them."""
    return not _in_containers() and not any(variable in os.environ for variable in GIVEN.values())


def _in_containers() -> bool:
    return os.environ.get("CARTSTREAM_TEST_DOCKER") == "1"


class Urls(NamedTuple):
    """Where the servers behind a process answer; Kafka has the topics, the database the schema."""

    kafka_bootstrap: str
    redis: str
    database: str
    schema: str = PUBLIC

    @property
    def kafka(self) -> KafkaSettings:
        """The settings of a client of this broker."""
        return KafkaSettings(kafka_bootstrap=self.kafka_bootstrap)

    @property
    def postgres(self) -> str:
        """The URL of the database for a test's own statements: they find the tables."""
        if self.schema == PUBLIC:
            return self.database
        return with_parameters(self.database, options=f"-c search_path={self.schema}")

    def environment(self, role: Role | None = None) -> dict[str, str]:
        """A process's variables for them; `role`: with no more rights in Postgres than that process needs."""
        address = Address(self.database, self.schema)
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": self.redis,
            "CARTSTREAM_POSTGRES_URL": address.url if role is None else as_role(address, role),
            "CARTSTREAM_POSTGRES_SCHEMA": self.schema,
        }


def with_topics(kafka_bootstrap: str) -> KafkaSettings:
    """The settings of the broker's clients, once it has the product's topics."""
    settings = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    asyncio.run(apply(settings, partitions=PARTITIONS, allow_single=True))
    return settings


@contextmanager
def prepared_beside_a_monolith(kafka_bootstrap: str, redis_url: str, postgres: str) -> Iterator[Urls]:
    """As `prepared`; the database is shared with a monolith, which must not notice."""
    with_topics(kafka_bootstrap)
    with empty_database(postgres) as url:
        monolith = Monolith(url)
        migrate(Address(url, SCHEMA))
        yield Urls(kafka_bootstrap, redis_url, url, SCHEMA)
        assert monolith.is_untouched()


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
