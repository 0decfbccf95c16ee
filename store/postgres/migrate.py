"""Brings a database to this version's schema: numbered SQL files, each applied once, in a transaction."""

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString

import msgspec
import psycopg
import structlog

from store.postgres.errors import MigrationFailed
from store.postgres.queries import queries_of

query: Final = queries_of("migrations")

log = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 10
_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One numbered file."""

    version: int
    name: str
    sql: LiteralString

    @property
    def sha256(self) -> str:
        """Of the file, so that a file edited after it was applied is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> list[Migration]:
    """The migrations of this version, in order."""
    return sorted(_files(), key=lambda migration: migration.version)


def migrate(url: str, applied: Callable[[Migration], None] = lambda _: None) -> list[Migration]:
    """Apply what the database lacks; returns what was applied, telling each to `applied` as it is done.

    Safe at any time and from several machines at once: one works, the others wait and find nothing to do.
    Raises MigrationFailed with what to do about it.
    """
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            # Held until the connection closes, so it also covers the table of migrations itself.
            connection.execute(query("lock_migrations"))
            connection.execute(query("create_schema_migrations"))
            missing = _missing(connection)
            for migration in missing:
                _apply(connection, migration)
                applied(migration)
            return missing
    except psycopg.OperationalError as error:
        raise MigrationFailed(
            f"Postgres does not answer: start it, or correct CARTSTREAM_POSTGRES_URL. It said: {error}"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationFailed(
            f"the user in CARTSTREAM_POSTGRES_URL may not change the schema: migrate as its owner. {error}"
        ) from error


async def pending(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """The names of the migrations that the database lacks; none if it may not be asked."""
    try:
        applied = await (await connection.execute(query("applied_migrations"))).fetchall()
    except psycopg.errors.UndefinedTable:
        applied = []
    except psycopg.errors.InsufficientPrivilege:
        return []
    done = {version for version, *_ in applied}
    return [f"{known.version:04}_{known.name}" for known in migrations() if known.version not in done]


def _files() -> Iterator[Migration]:
    for entry in files(__package__).joinpath("migrations").iterdir():
        if match := _FILE.fullmatch(entry.name):
            yield Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"))


def _missing(connection: psycopg.Connection) -> list[Migration]:
    applied = connection.execute(query("applied_migrations"))
    done = {version: (name, sha256) for version, name, sha256 in applied}
    known = migrations()
    for migration in known:
        if migration.version in done and done[migration.version] != (migration.name, migration.sha256):
            raise MigrationFailed(
                f"migration {migration.version:04}_{migration.name} has been changed since it was applied to "
                f"this database: restore the file, and put the change into a new migration"
            )
    if newer := sorted(done.keys() - {migration.version for migration in known}):
        # An older release may start while a newer one is rolled out: its schema is a part of the newer one.
        log.warning("migrate.database_is_newer", unknown_migrations=newer)
    return [migration for migration in known if migration.version not in done]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.sql)
            connection.execute(
                query("record_migration"),
                {"version": migration.version, "name": migration.name, "sha256": migration.sha256},
            )
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationFailed(
            f"migration {migration.version:04}_{migration.name} was refused with SQLSTATE {error.sqlstate}, "
            f"nothing of it was kept: {error}"
        ) from error
    log.info("migrate.applied", version=migration.version, name=migration.name)
