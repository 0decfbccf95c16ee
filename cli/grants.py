"""`cartstream grants`: what each process may do in Postgres."""

import click
import psycopg

from runtime.settings import load
from store.postgres.errors import MigrationFailed
from store.postgres.roles import RolesMissing, grant, statements
from store.postgres.settings import PostgresSettings


@click.command("grants")
@click.option(
    "--prefix",
    default="cartstream",
    show_default=True,
    metavar="NAME",
    help="What the names of the roles begin with, such as NAME_gateway.",
)
@click.option("--apply", "apply", is_flag=True, help="Grant it, as the user in CARTSTREAM_POSTGRES_URL.")
def command(prefix: str, apply: bool) -> None:
    """Print the SQL that lets every process do what it needs in Postgres, and nothing else.

    One role for each kind of process. --apply executes the statements: after each `cartstream migrate`, as
    the same user. The roles themselves are made by the database's administrator, with their passwords.
    """
    settings = load(PostgresSettings)
    if not apply:
        for statement in statements(settings.postgres_schema, prefix):
            click.echo(f"{statement};")
        return
    try:
        grant(settings.postgres_address, prefix)
    except (RolesMissing, MigrationFailed) as error:
        raise click.ClickException(str(error)) from error
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
    ) as error:
        raise click.ClickException("the schema is not up to date: run `cartstream migrate` first") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise click.ClickException(f"only the owner of the tables may grant: {error}") from error
    click.echo(f"granted, in the schema {settings.postgres_schema}, to the roles {prefix}_…")
