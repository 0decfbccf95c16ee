"""Databases with the product's schema, for tests that may stop or kill Postgres meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import stamina
from psycopg import sql

from store.postgres.migrate import migrate
from store.postgres.session import Address


def database_url(server: str, name: str) -> str:
    """The URL of another database on a server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def with_parameters(url: str, **parameters: str) -> str:
    """The URL with more parameters of libpq."""
    added = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
    return f"{url}{'&' if '?' in url else '?'}{added}"


@contextmanager
def migrated_database(server: str) -> Iterator[str]:
    """The URL of a new database on the server with this version's schema; it goes away afterwards."""
    with empty_database(server) as url:
        migrate(Address(url))
        yield url


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """The URL of a new database on the server; it goes away afterwards."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield database_url(server, name)
    _drop(server, name)


def _drop(server: str, name: str) -> None:
    statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    # Autovacuum may be in there; it belongs to the superuser and ends soon.
    retries = stamina.retry_context(
        on=psycopg.errors.InsufficientPrivilege, attempts=None, timeout=30, wait_initial=0.2, wait_max=0.5
    )
    # A connection of its own: the server may have been stopped and started meanwhile.
    with psycopg.connect(server, autocommit=True) as admin:
        for attempt in retries:
            with attempt:
                admin.execute(statement)
