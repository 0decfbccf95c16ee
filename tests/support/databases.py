"""Databases with the product's schema, for tests that may stop or kill Postgres meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from store.postgres.migrate import migrate


def database_url(server: str, name: str) -> str:
    """The URL of another database on a server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


@contextmanager
def migrated_database(server: str) -> Iterator[str]:
    """The URL of a new database on the server with this version's schema; it goes away afterwards."""
    name = f"test_{uuid4().hex}"
    url = database_url(server, name)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate(url)
    yield url
    # A connection of its own: the server may have been stopped and started meanwhile.
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
