"""Settings of processes: how they are read, and the class by which all of them reach Kafka."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.redaction import HIDDEN, redacted, redacted_address

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT


PREFIX: Final = "CARTSTREAM_"

S = TypeVar("S", bound=BaseSettings)


class SettingsError(Exception):
    """The environment holds a wrong setting; the message names the variable and shows a right value."""


def load(settings: type[S]) -> S:
    """The settings of this environment. Raises SettingsError naming each wrong variable and a right value."""
    try:
        return settings()
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise SettingsError("\n".join(_complaint(settings, detail) for detail in details)) from error


def shown(settings: BaseSettings) -> dict[str, Any]:
    """Every setting for the log: secrets masked, in URLs only what is secret of them."""
    return settings.model_dump(mode="json") | {
        name: masked for name, value in settings if (masked := _masked(value)) is not None
    }


def _masked(value: object) -> str | None:
    """What is shown instead of a secret; None for a value that is shown as it is."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and "://" in text:
        return redacted_address(text)
    return HIDDEN if isinstance(value, SecretStr) else None


def _complaint(settings: type[BaseSettings], detail: Any) -> str:
    # It may repeat what was set; the right value behind it is none of anybody's.
    message = redacted(str(detail["msg"]).removeprefix("Value error, "))
    field = settings.model_fields.get(str(detail["loc"][0])) if detail["loc"] else None
    if field is None:
        return message  # about several settings at once: the message names them
    variable = f"{PREFIX}{str(detail['loc'][0]).upper()}"
    right = field.examples[0] if field.examples else field.default
    return f"{variable}: {message}. A right value: {variable}={right}"


class KafkaSettings(BaseSettings):
    """Address and credentials of the cluster, from `CARTSTREAM_KAFKA_*`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    kafka_bootstrap: str = "127.0.0.1:9092"
    """`host:port`, several separated by commas."""
    kafka_tls: bool = False
    kafka_tls_ca: Path | None = None
    """CA bundle (PEM); without it the system's."""
    kafka_tls_cert: Path | None = None
    """Client certificate (PEM) for mutual TLS; needs `kafka_tls_key`."""
    kafka_tls_key: Path | None = None
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None

    @field_validator("kafka_bootstrap")
    @classmethod
    def _has_hosts_and_ports(cls, value: str) -> str:
        servers = [server.strip() for server in value.split(",")]
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{server!r} is no host:port, a right value is kafka-1:9092,kafka-2:9092")
        return ",".join(servers)

    @model_validator(mode="after")
    def _is_complete(self) -> KafkaSettings:
        if self.kafka_sasl_mechanism and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ValueError(
                "CARTSTREAM_KAFKA_SASL_MECHANISM is set: set CARTSTREAM_KAFKA_SASL_USERNAME, e.g. to "
                "cartstream, and CARTSTREAM_KAFKA_SASL_PASSWORD too"
            )
        if (self.kafka_tls_cert is None) != (self.kafka_tls_key is None):
            raise ValueError(
                "CARTSTREAM_KAFKA_TLS_CERT and CARTSTREAM_KAFKA_TLS_KEY belong together, "
                "e.g. /etc/cartstream/client.crt and /etc/cartstream/client.key"
            )
        return self

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context all clients share, or None without TLS."""
        if not self.kafka_tls:
            return None
        context = ssl.create_default_context(cafile=str(self.kafka_tls_ca) if self.kafka_tls_ca else None)
        if self.kafka_tls_cert and self.kafka_tls_key:
            context.load_cert_chain(str(self.kafka_tls_cert), str(self.kafka_tls_key))
        return context

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for aiokafka: `AIOKafkaProducer(**settings.client_options(), acks="all")`."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": ("SASL_" if self.kafka_sasl_mechanism else "")
            + ("SSL" if self.kafka_tls else "PLAINTEXT"),
            "ssl_context": self.ssl_context(),
        }
        if self.kafka_sasl_mechanism and self.kafka_sasl_password:
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value(),
            }
        return options

    def faust_credentials(self) -> CredentialsT | None:
        """The same credentials as an object for Faust's `broker_credentials`, or None in the clear."""
        # Only the Faust processes pay for the import.
        import faust  # noqa: PLC0415

        context = self.ssl_context()
        if self.kafka_sasl_mechanism and self.kafka_sasl_password:
            return faust.SASLCredentials(
                username=self.kafka_sasl_username,
                password=self.kafka_sasl_password.get_secret_value(),
                ssl_context=context,
                mechanism=self.kafka_sasl_mechanism,
            )
        return faust.SSLCredentials(context=context) if context else None


class ProcessSettings(KafkaSettings):
    """Settings of every process that serves no HTTP, from `CARTSTREAM_*`."""

    stop_timeout_s: float = Field(default=20.0, gt=0.0)
    """How long a graceful stop may take; a process that takes longer ends with exit 75."""
    ready_file: Path | None = Field(default=None, examples=["/run/cartstream/streams.ready"])
    """Touched once the process does its work (a Faust one: has partitions and tables), removed on stop."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Prometheus port on all interfaces; 0 is off."""
