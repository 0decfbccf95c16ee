"""Settings of the connection to Postgres, each `CARTSTREAM_<NAME>`."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX


class PostgresSettings(BaseSettings):
    """How the database is reached."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    postgres_url: SecretStr = Field(
        SecretStr("postgresql://cartstream@127.0.0.1:5432/cartstream"),
        examples=["postgresql://cartstream:secret@postgres-1:5432/cartstream"],
    )

    @field_validator("postgres_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must be a URL that starts with postgresql://")
        return value
