"""Who may do what in Postgres: one role for each kind of process, with what it needs and no more."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from psycopg import sql

from store.postgres.migrate import owner_of
from store.postgres.queries import queries_of
from store.postgres.session import Address

_query: Final = queries_of("roles")


class Role(StrEnum):
    """Each is a process, but the last two: people at the command line, and people who read reports."""

    GATEWAY = "gateway"
    MERGES = "merges"
    SINK = "sink"
    RESTORE = "restore"
    MAIL = "mail"
    HISTORY = "history"
    JOBS = "jobs"
    OPERATOR = "operator"
    READER = "reader"


class Grants(msgspec.Struct, frozen=True):
    """What a role may do: privileges by table or view; sequences it draws from; functions it calls."""

    tables: Mapping[str, str]
    sequences: Sequence[str] = ()
    functions: Sequence[str] = ()


_ERASURE: Final = {
    "carts": "SELECT",
    "carts_positions": "SELECT",
    "orders": "SELECT, UPDATE",
    "checkouts": "SELECT, UPDATE",
    "merges": "SELECT",
    "merge_transfers": "SELECT, UPDATE",
    "post_checkout_tasks": "SELECT, INSERT, UPDATE",
    "abandoned_carts": "SELECT, UPDATE",
    "outbox": "SELECT, INSERT, DELETE",
    "cart_changes": "SELECT, DELETE",
    "erased_histories": "SELECT, INSERT, UPDATE",
}

GRANTS: Final[Mapping[Role, Grants]] = {
    Role.GATEWAY: Grants(
        {
            **_ERASURE,
            "schema_migrations": "SELECT",
            "products": "SELECT, INSERT, UPDATE",
            "orders": "SELECT, INSERT, UPDATE",
            "order_lines": "SELECT, INSERT",
            "checkouts": "SELECT, INSERT, UPDATE",
            "merges": "SELECT, INSERT, UPDATE",
            "merge_transfers": "SELECT, INSERT, UPDATE",
            "mail_suppressions": "INSERT",
        },
        sequences=("product_versions",),
    ),
    Role.MERGES: Grants(
        {
            "carts": "SELECT",
            "carts_positions": "SELECT",
            "orders": "SELECT",
            "checkouts": "SELECT",
            "merges": "SELECT, UPDATE",
            "merge_transfers": "SELECT, INSERT, UPDATE",
        }
    ),
    Role.SINK: Grants(
        {"carts": "SELECT, INSERT, UPDATE, DELETE", "carts_positions": "SELECT, INSERT, UPDATE"},
    ),
    Role.RESTORE: Grants({"carts": "SELECT", "carts_positions": "SELECT"}),
    Role.MAIL: Grants(
        {
            "post_checkout_tasks": "SELECT, INSERT, UPDATE",
            "order_mails_a_day": "SELECT, INSERT, UPDATE, DELETE",
            "abandoned_carts": "SELECT",
            "mail_suppressions": "SELECT",
        }
    ),
    Role.HISTORY: Grants(
        {
            "cart_changes": "SELECT, INSERT, DELETE",
            "erased_histories": "SELECT, INSERT, UPDATE",
        },
        sequences=("cart_changes_place",),
    ),
    Role.JOBS: Grants(
        {
            "carts": "SELECT",
            "carts_positions": "SELECT",
            "outbox": "SELECT, INSERT, DELETE",
            "orders": "SELECT, UPDATE",
            "checkouts": "SELECT, UPDATE",
            "merges": "SELECT, UPDATE, DELETE",
            "merge_transfers": "SELECT, UPDATE",
            "post_checkout_tasks": "SELECT, INSERT",
            "abandoned_carts": "SELECT, INSERT, UPDATE",
            "mail_suppressions": "SELECT",
            "mails_a_day": "SELECT, INSERT, UPDATE, DELETE",
            "cart_changes_rest": "SELECT, DELETE",
            "erased_histories": "SELECT, DELETE",
        },
        functions=("make_history_day(date)", "drop_history_day(date)"),
    ),
    Role.OPERATOR: Grants(
        {
            **_ERASURE,
            "carts": "SELECT, INSERT, UPDATE, DELETE",
            "products": "SELECT, INSERT, UPDATE",
        },
        sequences=("product_versions",),
    ),
    Role.READER: Grants(
        {
            "cart_lines": "SELECT",
            "abandonment_daily": "SELECT",
            "products": "SELECT",
            "order_lines": "SELECT",
        }
    ),
}


class RolesMissing(Exception):
    """Roles that are to be granted something are not there; the message says how to make them."""

    def __init__(self, names: Sequence[str]) -> None:
        made = " ".join(f"CREATE ROLE {name} LOGIN PASSWORD '…';" for name in names)
        super().__init__(f"the database's administrator has to make these roles first: {made}")


def role_name(role: Role, prefix: str) -> str:
    """The name of the role in Postgres, where all databases of a server share the names."""
    return f"{prefix}_{role}"


def statements(schema: str, prefix: str) -> list[str]:
    """The SQL that gives every role what it needs, and takes from it what it does not. Pure."""
    return [each.as_string() for role in Role for each in _statements(role, schema, prefix)]


def grant(address: Address, prefix: str) -> None:
    """Execute these statements, all or none. Raises RolesMissing, MigrationFailed, psycopg.Error."""
    names = [role_name(role, prefix) for role in Role]
    with owner_of(address) as connection, connection.transaction():
        found = {name for (name,) in connection.execute(_query("found_roles"), {"names": names})}
        if missing := [name for name in names if name not in found]:
            raise RolesMissing(missing)
        for role in Role:
            for statement in _statements(role, address.schema, prefix):
                connection.execute(statement)


def _statements(role: Role, schema: str, prefix: str) -> Iterator[sql.Composed]:
    to = sql.Identifier(role_name(role, prefix))
    grants = GRANTS[role]

    def of(names: Sequence[str]) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)

    def functions(names: Sequence[str]) -> sql.Composed:
        parts = (name.partition("(") for name in names)
        # From the table above, nobody's input.
        each = (sql.SQL("{}({}").format(of([name]), sql.SQL(arguments)) for name, _, arguments in parts)
        return sql.SQL(", ").join(each)

    yield sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(of(_all(lambda each: each.tables)), to)
    yield sql.SQL("REVOKE ALL ON SEQUENCE {} FROM {}").format(of(_all(lambda each: each.sequences)), to)
    yield sql.SQL("REVOKE ALL ON FUNCTION {} FROM {}").format(
        functions(_all(lambda each: each.functions)), to
    )
    yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), to)
    for table, privileges in grants.tables.items():
        yield sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(privileges), of([table]), to)
    if grants.sequences:
        yield sql.SQL("GRANT USAGE ON SEQUENCE {} TO {}").format(of(grants.sequences), to)
    if grants.functions:
        yield sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(functions(grants.functions), to)


def _all(part: Callable[[Grants], Iterable[str]]) -> list[str]:
    """What any role is granted of a kind."""
    return sorted({name for each in GRANTS.values() for name in part(each)})
