"""`cartstream migrate`: brings Postgres to this version's schema."""

import click

from sinks.errors import MigrationFailed
from sinks.postgres.migrate import Migration, migrate
from store import PostgresSettings
from topics.settings import load


@click.command("migrate")
def command() -> None:
    """Bring Postgres (CARTSTREAM_POSTGRES_URL) to this version's schema. Safe to repeat."""

    def tell(migration: Migration) -> None:
        click.echo(f"applied {migration.version:04}_{migration.name}")

    try:
        done = migrate(load(PostgresSettings).postgres_url.get_secret_value(), tell)
    except MigrationFailed as error:
        raise click.ClickException(str(error)) from error
    if not done:
        click.echo("nothing to do: the schema is up to date")
