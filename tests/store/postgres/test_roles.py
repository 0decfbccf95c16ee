"""What each process may do in Postgres: what it needs, and nothing else."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from pydantic import SecretStr

from cli.main import cartstream
from devstack.settings import POSTGRES
from jobs.history import HistoryJob
from jobs.settings import JobsSettings
from sinks.mail.tasks import MailTasks
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from sinks.redis.rows import Rows
from store.postgres import history, positions
from store.postgres.errors import NotGranted
from store.postgres.queries import queries_of
from store.postgres.roles import GRANTS, Role, grant, role_name
from store.postgres.session import Address, connect
from store.redis import Layout
from tests.docs.tables import rows
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.databases import migrated_database
from tests.support.processes import ROOT
from tests.support.roles import PREFIX, as_role, make_roles
from tests.support.servers import Servers
from topics.registry import PARTITIONS

GRANTED: Final = """
SELECT grantee::regrole::text, relname::text, privilege_type
FROM pg_class, aclexplode(relacl)
WHERE relnamespace = 'public'::regnamespace AND grantee = ANY(%s::regrole[])
UNION ALL
SELECT grantee::regrole::text, proname::text, privilege_type
FROM pg_proc, aclexplode(proacl)
WHERE pronamespace = 'public'::regnamespace AND grantee = ANY(%s::regrole[])
"""
ALL: Final = ("*",)
CARRIED_ON: Final = (
    *("merge_of_guest", "merge_by_id", "transfers_of_merge", "open_merges_into", "latest_transfer"),
    *(
        "insert_transfer",
        "attend_to_merge",
        "note_cart_version",
        "finish_merge",
        "carry_further",
        "lock_cart",
    ),
)
USED: Final[Mapping[Role, Mapping[str, tuple[str, ...]]]] = {
    Role.GATEWAY: {
        "carts": ("look_up_carts",),
        "migrations": ("applied_migrations",),
        "orders": ALL,
        "products": ("put_products", "lock_products", "change_stock"),
        "outbox": ("write_outbox",),
        "merges": (*CARRIED_ON, "begin_merge", "hand_over", "latest_transfer_of_guest"),
        "erasure": ALL,
        "history": ("count_changes", "changes_before", "changes_until", "erase_changes"),
        "abandonments": ("can_be_recovered", "suppress", "erase_abandonments"),
    },
    Role.MERGES: {
        "carts": ("look_up_carts",),
        "orders": ("latest_order", "open_checkout_of_cart"),
        "merges": (*CARRIED_ON, "taken_merge"),
    },
    Role.SINK: {
        "carts": ("upsert_carts", "delete_carts"),
        "positions": ("begin_positions", "read_positions", "move_positions"),
    },
    Role.RESTORE: {"carts": ("look_up_carts",), "positions": ("read_positions",)},
    Role.MAIL: {"mail_tasks": ALL, "abandonments": ("is_mail_wanted",)},
    Role.HISTORY: {"history": ("insert_changes", "erase_changes")},
    Role.JOBS: {
        "carts": ("look_up_carts", "cart_ids_after", "cart_ages_after", "facts_of_carts"),
        "outbox": ALL,
        "orders": ("unsettled_orders", "settle_orders", "expire_checkouts"),
        "merges": (
            *("unsettled_transfers", "settle_transfers", "unattended_merges", "hand_over", "changed_guests"),
            *("note_looks", "take_up_again", "forget_merges"),
        ),
        "history": (
            "partitions",
            "create_partition",
            "drop_partition",
            "delete_from_rest",
            "forget_erasures",
        ),
        "abandonments": (
            *("left_behind", "insert_abandonment", "taken_up_again", "note_recovery", "insert_mail"),
            "forget_days",
        ),
    },
    Role.OPERATOR: {
        "carts": (
            *("upsert_carts", "delete_carts", "delete_replaced_carts"),
            *("read_carts", "look_up_carts", "states_of_carts"),
            *("cart_ids_after", "count_carts"),
        ),
        "overview": ALL,
        "orders": ("orders_of_cart",),
        "merges": ("merges_of_cart",),
        "erasure": ALL,
        "abandonments": ("erase_abandonments",),
        "outbox": ("write_outbox", "outbox_lag"),
        "products": ("put_products", "products_after", "products_to_export"),
        "history": ("count_changes", "changes_before", "erase_changes"),
    },
}
DENIED: Final = {
    Role.GATEWAY: (
        *("INSERT INTO carts (cart_id) VALUES ('x')", "UPDATE carts SET v = 0", "DELETE FROM carts"),
        *("DELETE FROM orders", "UPDATE carts_positions SET position = 0", "TRUNCATE outbox"),
        *(
            "SELECT FROM mail_suppressions",
            "INSERT INTO cart_changes (cart_id) VALUES ('x')",
            "CREATE TABLE mine ()",
        ),
    ),
    Role.MERGES: ("UPDATE carts SET v = 0", "UPDATE orders SET status = 'x'", "DELETE FROM merges"),
    Role.SINK: (
        *("SELECT FROM orders", "UPDATE orders SET status = 'x'", "SELECT FROM products"),
        *("INSERT INTO outbox (topic) VALUES ('carts')", "DROP TABLE carts", "ALTER TABLE carts ADD x int"),
    ),
    Role.RESTORE: ("DELETE FROM carts", "UPDATE carts_positions SET position = 0", "SELECT FROM orders"),
    Role.MAIL: ("SELECT FROM orders", "SELECT FROM carts", "DELETE FROM post_checkout_tasks"),
    Role.HISTORY: ("SELECT FROM carts", "SELECT drop_history_day('2026-01-01')", "DROP TABLE cart_changes"),
    Role.JOBS: (
        *("UPDATE carts SET v = 0", "DELETE FROM carts", "UPDATE products SET stock = 0"),
        *("SELECT FROM cart_changes", "DROP TABLE cart_changes_rest", "CREATE TABLE mine ()"),
    ),
    Role.OPERATOR: ("DROP TABLE carts", "DELETE FROM orders", "UPDATE carts_positions SET position = 0"),
    Role.READER: ("SELECT FROM carts", "SELECT FROM orders", "SELECT FROM post_checkout_tasks"),
}


class Nulls(dict[str, bytes | None]):
    """Any parameter, as NULL: a statement that is only planned needs no values, at most a type."""

    def __missing__(self, name: str) -> bytes | None:
        return b"" if name == "address_hash" else None


@pytest.fixture(scope="module")
def granted(servers: Servers) -> Iterator[str]:
    """A migrated database in which the roles have what they need."""
    with migrated_database(servers.url(POSTGRES)) as database:
        try:
            make_roles(database)
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("NOT tested under roles: the user in the URL may make none (CREATEROLE)")
        grant(Address(database), PREFIX)
        yield database


def statements_of(used: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """The queries of files, by name, or all of a file; with their names."""
    found = []
    for file, names in used.items():
        path = f"store/postgres/sql/{file}.sql"
        every = names_in(path) if names == ALL else names
        found += [(f"{file}.{name}", queries_of(file)(name)) for name in every]
    return found


def names_in(path: str) -> tuple[str, ...]:
    """The names of all queries of a file."""
    return tuple(re.findall(r"^-- ([a-z_]+)$", (ROOT / path).read_text(), re.MULTILINE))


@pytest.mark.parametrize("role", USED)
def test_a_process_may_do_what_it_does(granted: str, role: Role) -> None:
    with psycopg.connect(as_role(Address(granted), role), autocommit=True) as connection:
        for name, statement in statements_of(USED[role]):
            try:
                connection.execute(f"EXPLAIN {statement}".encode(), Nulls())
            except psycopg.errors.InsufficientPrivilege as error:
                pytest.fail(f"{role} may not do {name}: {error}")


@pytest.mark.parametrize("role", Role)
def test_a_process_may_not_do_what_is_not_its_own(granted: str, role: Role) -> None:
    with psycopg.connect(as_role(Address(granted), role), autocommit=True) as connection:
        for statement in DENIED[role]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_role_has_what_the_table_says_and_nothing_else(granted: str) -> None:
    names = {role_name(role, PREFIX): role for role in Role}
    said = {
        (role, name, privilege)
        for role, grants in GRANTS.items()
        for name, privileges in [
            *grants.tables.items(),
            *((name, "USAGE") for name in grants.sequences),
            *((function.partition("(")[0], "EXECUTE") for function in grants.functions),
        ]
        for privilege in privileges.split(", ")
    }
    with psycopg.connect(granted, autocommit=True) as connection:
        for name in names:
            statement = sql.SQL("GRANT ALL ON carts, orders, products TO {}").format(sql.Identifier(name))
            connection.execute(statement)
        grant(Address(granted), PREFIX)
        found = connection.execute(GRANTED, (list(names), list(names))).fetchall()
        tables = {
            name
            for (name,) in connection.execute(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
            )
        }
    assert {(names[grantee], name, privilege) for grantee, name, privilege in found} == said
    assert tables <= {name for grants in GRANTS.values() for name in grants.tables}


async def test_a_process_that_may_not_write_says_what_to_do(granted: str) -> None:
    async with CartsTable(Address(as_role(Address(granted), Role.RESTORE))) as table:
        with pytest.raises(NotGranted, match="cartstream grants --apply"):
            await table.write(newest([row("user:1", grow("user:1", 1))]))


async def test_the_job_history_makes_and_drops_days_that_it_does_not_own(granted: str) -> None:
    url = as_role(Address(granted), Role.JOBS)
    today = datetime.now(UTC).date()
    job = HistoryJob(JobsSettings(postgres_url=SecretStr(url), history=True, history_days=3))
    async with await connect(Address(url), name="test") as connection:
        await job.round(connection, today)
        made = await days(connection)
        assert today in made
        await job.round(connection, today + timedelta(days=30))
        assert today not in await days(connection)


async def days(connection: psycopg.AsyncConnection[Any]) -> list[date]:
    """The days that have partitions."""
    return [partition.day for partition in await history.partitions(connection)]


async def test_mails_and_rows_are_read_by_those_who_may(granted: str) -> None:
    cart_id = new_cart_id()
    async with CartsTable(Address(as_role(Address(granted), Role.SINK))) as table:
        assert await table.write(newest([row(cart_id, grow(cart_id, 1))])) == 1
    restored = Rows(Address(as_role(Address(granted), Role.RESTORE)), Layout(PARTITIONS))
    assert (await restored.look_up([cart_id]))[cart_id].state is not None
    await restored.close()
    tasks = MailTasks(Address(as_role(Address(granted), Role.MAIL)), 1.0)
    assert await tasks.claim() is None
    await tasks.close()
    with psycopg.connect(as_role(Address(granted), Role.READER)) as connection:
        lines = connection.execute("SELECT cart_id FROM cart_lines").fetchall()
        assert lines == [(cart_id,)]


async def test_positions_are_noted_for_another_generation_by_the_owner_alone(granted: str) -> None:
    for url, may in {granted: True, as_role(Address(granted), Role.OPERATOR): False}.items():
        async with await connect(Address(url), name="test") as connection:
            assert await positions.may_write(connection) is may


def test_the_page_names_every_role() -> None:
    page = rows(ROOT / "docs" / "how-to" / "postgres.md", "One role for each process")
    assert [row[0].strip("`") for row in page] == [role_name(role, "cartstream") for role in Role]


def test_the_command_prints_what_it_grants(granted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", granted)
    printed = CliRunner().invoke(cartstream, ["grants", "--prefix", PREFIX])
    assert printed.exit_code == 0
    with psycopg.connect(granted) as connection:
        connection.execute(printed.output.encode())
    applied = CliRunner().invoke(cartstream, ["grants", "--prefix", PREFIX, "--apply"])
    assert applied.exit_code == 0, applied.output
    missing = CliRunner().invoke(cartstream, ["grants", "--prefix", "nobody", "--apply"])
    assert missing.exit_code == 1
    assert "CREATE ROLE nobody_gateway LOGIN" in missing.output


def test_grants_come_after_migrations(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_roles(postgres_url)
    monkeypatch.setenv("CARTSTREAM_POSTGRES_URL", postgres_url)
    refused = CliRunner().invoke(cartstream, ["grants", "--prefix", PREFIX, "--apply"])
    assert refused.exit_code == 1
    assert "cartstream migrate" in refused.output
