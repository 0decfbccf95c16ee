"""Settings of identity: the mode, and the keys by which callers are known. Each `CARTSTREAM_<NAME>`."""

from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from runtime.keys import check_strength, keys_of
from runtime.settings import PREFIX, Settings

_DEVELOPMENT_KEY: Final = "development-mode-is-open-no-secret"
_EXAMPLE_KEY: Final = "output-of-openssl-rand-base64-48"
_PUBLISHED_KEYS: Final = frozenset({_DEVELOPMENT_KEY, _EXAMPLE_KEY})


class Mode(StrEnum):
    """Whether callers must prove who they are."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class IdentitySettings(Settings):
    """How the gateway knows its callers. In production mode a missing or weak key stops the start."""

    model_config = SettingsConfigDict(frozen=True)

    mode: Mode = Field(
        Mode.DEVELOPMENT,
        examples=["production"],
        description="`development`: every caller may do everything; `production`: callers prove who they are",
    )
    guest_token_keys: SecretStr | None = Field(
        None,
        examples=[_EXAMPLE_KEY],
        description="keys that sign guest tokens, separated by commas, 32 characters at least; the first "
        "signs, all are accepted",
    )
    guest_token_lifetime_s: int = Field(
        30 * 86_400, ge=300, examples=[2_592_000], description="how long a guest token is good"
    )
    session_key: SecretStr | None = Field(
        None,
        examples=[_EXAMPLE_KEY],
        description="key by which the sessions of a monolith become guest carts; without it there are none",
    )
    session_cookie: str = Field(
        "cart_session",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        examples=["laravel_session"],
        description="the cookie with the session id; the header `Cart-Session` serves too",
    )
    jwt_secret: SecretStr | None = Field(
        None, examples=[_EXAMPLE_KEY], description="shared secret of JWTs signed with HS256"
    )
    jwt_public_key_file: Path | None = Field(
        None,
        examples=["/etc/cartstream/jwt.pem"],
        description="public key (PEM) of JWTs signed with RS256 or ES256",
    )
    jwt_jwks_url: str | None = Field(
        None,
        pattern=r"^https?://.+",
        examples=["https://login.example.com/.well-known/jwks.json"],
        json_schema_extra={"secret": True},
        description="where the public keys of JWTs signed with RS256 or ES256 are published",
    )
    jwt_jwks_refresh_s: float = Field(
        300.0, ge=5, le=86_400, examples=[300], description="pause between looks at the published keys"
    )
    jwt_issuer: str | None = Field(
        None, examples=["https://login.example.com/"], description="the `iss` that a JWT must have"
    )
    jwt_audience: str | None = Field(
        None, examples=["cartstream"], description="the `aud` that a JWT must have"
    )
    jwt_leeway_s: float = Field(
        10.0, ge=0, le=300, examples=[10], description="by how much clocks may differ when a JWT expires"
    )

    @field_validator("guest_token_keys", "session_key", "jwt_secret")
    @classmethod
    def _is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        return check_strength(value)

    @field_validator("jwt_public_key_file")
    @classmethod
    def _is_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @model_validator(mode="after")
    def _is_not_open_by_mistake(self) -> Self:
        if self.mode is Mode.DEVELOPMENT:
            return self
        if self.guest_token_keys is None:
            raise ValueError(
                "CARTSTREAM_GUEST_TOKEN_KEYS: production mode needs a key that signs guest tokens; "
                "make one with `openssl rand -base64 48`"
            )
        if not (self.jwt_secret or self.jwt_public_key_file or self.jwt_jwks_url):
            raise ValueError(
                "CARTSTREAM_JWT_JWKS_URL: production mode needs a way to check the tokens of shoppers and "
                "services: CARTSTREAM_JWT_JWKS_URL, CARTSTREAM_JWT_PUBLIC_KEY_FILE or CARTSTREAM_JWT_SECRET"
            )
        return self

    @model_validator(mode="after")
    def _has_secret_keys(self) -> Self:
        if self.mode is Mode.DEVELOPMENT:
            return self
        for name in ("guest_token_keys", "session_key", "jwt_secret"):
            value: SecretStr | None = getattr(self, name)
            if value and not _PUBLISHED_KEYS.isdisjoint(keys_of(value)):
                raise ValueError(
                    f"{PREFIX}{name.upper()}: everybody can read this key in the documentation or the "
                    "source; make one with `openssl rand -base64 48`"
                )
        return self

    @property
    def guest_keys(self) -> list[str]:
        """The keys of guest tokens. In development mode there is one that everybody knows."""
        if self.guest_token_keys is None:
            return [_DEVELOPMENT_KEY]
        return keys_of(self.guest_token_keys)
