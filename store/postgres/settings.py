"""Settings of the connection to Postgres, each `CARTSTREAM_<NAME>`."""

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, field_validator

from runtime.settings import Settings


class PostgresSettings(Settings):
    """How the database is reached."""

    postgres_url: SecretStr = Field(
        SecretStr("postgresql://cartstream@127.0.0.1:5432/cartstream"),
        examples=["postgresql://cartstream:secret@postgres-1:5432/cartstream"],
        description="a database of cartstream's own; it must not be shared with other applications",
    )

    @field_validator("postgres_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must be a URL that starts with postgresql://")
        try:
            conninfo_to_dict(value.get_secret_value())
        except psycopg.ProgrammingError as error:
            # Of what libpq says this alone is sure to repeat no part of a password.
            known = str(error) if "query parameter" in str(error) else "it is no URL that libpq can read"
            raise ValueError(known) from None
        return value
