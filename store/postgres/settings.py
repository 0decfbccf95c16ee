"""Settings of the connection to Postgres, each `CARTSTREAM_<NAME>`."""

import re
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, field_validator

from runtime.settings import Settings
from store.postgres.session import PUBLIC, Address

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]*")


class PostgresSettings(Settings):
    """How the database is reached."""

    postgres_url: SecretStr = Field(
        SecretStr("postgresql://cartstream@127.0.0.1:5432/cartstream"),
        examples=["postgresql://cartstream:secret@postgres-1:5432/cartstream"],
        description=(
            "the database, with every parameter of libpq: [Use a Postgres of your own](../how-to/postgres.md)"
        ),
    )
    postgres_schema: str = Field(
        PUBLIC,
        max_length=63,
        examples=["cartstream"],
        description=(
            "the schema that has the tables, such as `cartstream` beside a monolith's; `cartstream migrate` "
            "makes it. The same for all processes"
        ),
    )

    @property
    def postgres_address(self) -> Address:
        """Where the tables are."""
        return Address(self.postgres_url.get_secret_value(), self.postgres_schema)

    @field_validator("postgres_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must be a URL that starts with postgresql://")
        try:
            parameters = conninfo_to_dict(value.get_secret_value())
        except psycopg.ProgrammingError as error:
            # Of what libpq says this alone is sure to repeat no part of a password.
            known = str(error) if "query parameter" in str(error) else "it is no URL that libpq can read"
            raise ValueError(known) from None
        if "search_path" in str(parameters.get("options")):
            raise ValueError("it names a search_path: name the schema in CARTSTREAM_POSTGRES_SCHEMA instead")
        return value

    @field_validator("postgres_schema")
    @classmethod
    def _is_a_plain_name(cls, value: str) -> str:
        if not _SCHEMA.fullmatch(value) or value.startswith("pg_") or value == "information_schema":
            raise ValueError(
                "it must be a name of lower-case letters, digits and _ that is not Postgres's own"
            )
        return value
