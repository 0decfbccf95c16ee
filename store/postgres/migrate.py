"""Brings a database to this version's schema: numbered SQL files, each applied once, in a transaction."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString

import msgspec
import psycopg
import structlog
from psycopg import sql

from store.postgres.errors import MigrationFailed
from store.postgres.queries import queries_of
from store.postgres.session import Address, PoolerBetween, unless_named

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


def migrate(address: Address, applied: Callable[[Migration], None] = lambda _: None) -> list[Migration]:
    """Apply what the schema lacks, and make it where there is none; returns what was applied.

    Each is told to `applied` as it is done.

    Safe at any time and from several machines at once: one works, the others wait and find nothing to do.
    Raises MigrationFailed with what to do about it.
    """
    try:
        with owner_of(address) as connection:
            # Held until the connection closes, so it also covers the table of migrations itself.
            connection.execute(query("lock_migrations"))
            _make_schema(connection, address.schema)
            connection.execute(query("create_schema_migrations"))
            missing = _missing(connection)
            for migration in missing:
                _apply(connection, migration)
                applied(migration)
            return missing
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName) as error:
        raise MigrationFailed(
            f"the user in CARTSTREAM_POSTGRES_URL may not change the schema {address.schema}: migrate as its "
            f"owner, or GRANT USAGE, CREATE ON SCHEMA {address.schema} to the user. {error}"
        ) from error
    except (psycopg.errors.DuplicateTable, psycopg.errors.UndefinedColumn) as error:
        raise MigrationFailed(
            f"the schema {address.schema} has tables of another program: set CARTSTREAM_POSTGRES_SCHEMA to a "
            f"schema of its own, e.g. cartstream. {error}"
        ) from error


@contextmanager
def owner_of(address: Address) -> Iterator[psycopg.Connection]:
    """A session in the schema for whoever changes it, in autocommit mode. Raises MigrationFailed."""
    try:
        parameters = unless_named(address.url, {"connect_timeout": CONNECT_SECONDS})
        with psycopg.connect(address.url, autocommit=True, **parameters) as connection:
            asked = {"schema": address.schema, "pid": connection.info.backend_pid}
            found = connection.execute(query("enter_schema"), asked).fetchone()
            if found is not None and found[0]:
                raise MigrationFailed(str(PoolerBetween("`cartstream migrate`")))
            yield connection
    except psycopg.OperationalError as error:
        raise MigrationFailed(
            f"Postgres does not answer: start it, or correct CARTSTREAM_POSTGRES_URL. It said: {error}"
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


def _make_schema(connection: psycopg.Connection, schema: str) -> None:
    """Make the schema where there is none: asking alone would need the right to make one."""
    if connection.execute(query("is_there"), {"schema": schema}).fetchone() == (True,):
        return
    try:
        connection.execute(sql.SQL(query("create_schema")).format(schema=sql.Identifier(schema)))
    except psycopg.errors.InsufficientPrivilege as error:
        user, database = connection.info.user, connection.info.dbname
        raise MigrationFailed(
            f"{user} may not make the schema {schema}. The database's owner may do it: CREATE SCHEMA "
            f'{schema} AUTHORIZATION "{user}", or GRANT CREATE ON DATABASE "{database}" TO "{user}"'
        ) from error


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
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege, psycopg.errors.DuplicateTable):
        raise
    except psycopg.Error as error:
        raise MigrationFailed(
            f"migration {migration.version:04}_{migration.name} was refused with SQLSTATE {error.sqlstate}, "
            f"nothing of it was kept: {error}"
        ) from error
    log.info("migrate.applied", version=migration.version, name=migration.name)
