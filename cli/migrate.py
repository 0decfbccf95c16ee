"""`cartstream migrate`: brings Postgres to this version's schema."""

import click

from runtime.settings import load
from store.postgres.errors import MigrationFailed
from store.postgres.migrate import Migration, migrate
from store.postgres.settings import PostgresSettings


@click.command("migrate")
def command() -> None:
    """Bring Postgres (CARTSTREAM_POSTGRES_URL) to this version's schema. Safe to repeat.

    CARTSTREAM_POSTGRES_SCHEMA is made if it is not there.
    """

    def tell(migration: Migration) -> None:
        click.echo(f"applied {migration.version:04}_{migration.name}")

    try:
        done = migrate(load(PostgresSettings).postgres_address, tell)
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
    if not done:
        click.echo("nothing to do: the schema is up to date")
