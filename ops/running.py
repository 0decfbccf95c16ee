"""Runs an operator's command: a failure becomes one sentence that says what to do, and an exit status."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
import msgspec
import psycopg
from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from ops.terminal import harmless
from runtime.failstop import Misconfigured
from runtime.kafka.causes import cause_of
from runtime.kafka.ranges import ReadStalled
from runtime.settings import SettingsError, load
from sinks.errors import SinkError
from store.postgres.errors import SchemaError
from store.redis import StoreError
from topics.apply import require
from topics.errors import ClusterUnreachableError, TopicsError
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS

S = TypeVar("S", bound=OpsSettings)
T = TypeVar("T")

_NEEDED: Final = (CART_CHANGED, CARTS, DEAD_LETTERS)


class Failed(click.ClickException):
    """The work could not be done; `exit_code` tells it from a bad result."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(harmless(message))
        self.exit_code = exit_code


def settings() -> OpsSettings:
    """The settings of this environment. Raises Failed naming each wrong variable."""
    return settings_as(OpsSettings)


def settings_as(kind: type[S]) -> S:
    """Those of another class, of this environment. Raises Failed naming each wrong variable."""
    try:
        return load(kind)
    except SettingsError as error:
        raise Failed(str(error), exit_code=2) from error


def run(
    environment: OpsSettings,
    work: Coroutine[Any, Any, T],
    *,
    exit_code: int = 1,
    without_kafka: bool = False,
) -> T:
    """Check the topics, then run `work` and return its result. Raises Failed with `exit_code`.

    `without_kafka`: run it also while Kafka does not answer.
    """
    looked = _after_a_look(environment, work, without_kafka=without_kafka)
    return run_anywhere(environment, looked, exit_code=exit_code)


def run_anywhere(environment: OpsSettings, work: Coroutine[Any, Any, T], *, exit_code: int = 1) -> T:
    """Run `work`, which looks at the topics itself, and return its result. Raises Failed with `exit_code`."""
    with explained(environment, exit_code):
        return asyncio.run(work)


@contextmanager
def explained(environment: OpsSettings, exit_code: int = 1) -> Iterator[None]:
    """A failure of a store within becomes Failed: one sentence that says what to do."""
    try:
        yield
    except (TopicsError, SinkError, SchemaError, StoreError) as error:
        raise Failed(str(error), exit_code) from error
    except Misconfigured as error:
        raise Failed(str(error), exit_code) from error
    except psycopg.errors.UndefinedTable as error:
        raise Failed("the database has no carts table: run `cartstream migrate`", exit_code) from error
    except psycopg.Error as error:
        raise Failed(
            f"Postgres failed, see whether CARTSTREAM_POSTGRES_URL names a server that runs: {error}",
            exit_code,
        ) from error
    except KafkaError as error:
        raise Failed(
            f"Kafka at {environment.kafka_bootstrap} failed: {cause_of(error, environment).text}. Doing this "
            "again is safe",
            exit_code,
        ) from error
    except ReadStalled as error:
        raise Failed(f"{error}. Doing this again is safe", exit_code) from error
    except TimeoutError as error:
        raise Failed("a server did not answer in time. Doing this again is safe", exit_code) from error


def chosen(environment: OpsSettings, partitions: Sequence[int]) -> list[int]:
    """The partitions asked for, or all of them. Raises BadParameter for one that does not exist."""
    if wrong := [partition for partition in partitions if partition >= environment.partitions]:
        raise click.BadParameter(
            f"there is no partition {wrong[0]}: CARTSTREAM_PARTITIONS says {environment.partitions}"
        )
    return sorted(set(partitions)) or list(range(environment.partitions))


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(harmless(msgspec.json.format(msgspec.json.encode(document), indent=2).decode()))


async def _after_a_look(environment: OpsSettings, work: Coroutine[Any, Any, T], *, without_kafka: bool) -> T:
    try:
        await require(
            environment,
            partitions=environment.partitions,
            others=environment.other_partitions,
            specs=_NEEDED,
        )
    except BaseException as error:
        if not (without_kafka and isinstance(error, ClusterUnreachableError)):
            work.close()
            raise
    return await work
