"""Roles with no more rights than a process needs, for tests that run processes under them."""

import warnings
from contextlib import suppress
from functools import cache
from typing import Final

import psycopg
from psycopg import sql

from store.postgres.roles import Role, grant, role_name
from store.postgres.session import Address
from tests.support.databases import with_parameters

PREFIX: Final = "cartstream_test"


def as_role(address: Address, role: Role) -> str:
    """The URL of a migrated database as a process of this role gets it."""
    if not _are_granted(address):
        return address.url
    return with_parameters(address.url, options=f"-c role={role_name(role, PREFIX)}")


def make_roles(url: str) -> None:
    """Make the roles on the server, each to be taken by the user in the URL. Raises psycopg.Error."""
    with psycopg.connect(url, autocommit=True) as connection:
        for role in Role:
            name = sql.Identifier(role_name(role, PREFIX))
            with suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL("CREATE ROLE {}").format(name))
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(name))


@cache
def _are_granted(address: Address) -> bool:
    try:
        make_roles(address.url)
    except psycopg.errors.InsufficientPrivilege:
        warnings.warn("NOT tested under roles: the user in the URL may make none (CREATEROLE)", stacklevel=2)
        return False
    grant(address, PREFIX)
    return True
