"""Settings of processes: how they are read, and the class by which all of them reach Kafka."""

from __future__ import annotations

import shlex
import shutil
import socket
import ssl
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from runtime.environment import EnvironmentSource, WrongFiles
from runtime.redaction import HIDDEN, redacted, redacted_address

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

    from runtime.kafka.tokens import CommandTokens


PREFIX: Final = "CARTSTREAM_"

S = TypeVar("S", bound=BaseSettings)


class SettingsError(Exception):
    """The environment holds a wrong setting; the message names the variable and shows a right value."""


class Settings(BaseSettings):
    """Settings of a process, each `CARTSTREAM_<NAME>`, or what is in the file `CARTSTREAM_<NAME>_FILE`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the interface of pydantic-settings
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was given to the class, then the environment and its files."""
        return init_settings, EnvironmentSource(settings_cls)


def load(settings: type[S]) -> S:
    """The settings of this environment. Raises SettingsError naming each wrong variable and a right value."""
    try:
        return settings()
    except WrongFiles as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise SettingsError("\n".join(_complaint(settings, detail) for detail in details)) from None


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


class KafkaSettings(Settings):
    """Address and credentials of the cluster, from `CARTSTREAM_KAFKA_*`."""

    model_config = SettingsConfigDict(frozen=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="`host:port`, several separated by commas")
    kafka_tls: bool = Field(default=False, description="TLS to the brokers")
    kafka_tls_ca: Path | None = Field(None, description="CA bundle (PEM); without it the system's")
    kafka_tls_cert: Path | None = Field(
        None, description="client certificate (PEM), together with `CARTSTREAM_KAFKA_TLS_KEY`"
    )
    kafka_tls_key: Path | None = Field(None, description="its key")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    kafka_sasl_username: str | None = Field(
        None, description="needed with the mechanism, unless it is OAUTHBEARER"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, description="needed with the mechanism, unless it is OAUTHBEARER"
    )
    # Secret, because its arguments may be.
    kafka_sasl_token_command: SecretStr | None = Field(
        None,
        description="program that prints the token of OAUTHBEARER, with its arguments; run without a shell",
    )

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
        self._check_sasl()
        self._check_tls()
        return self

    def _check_sasl(self) -> None:
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            if self.kafka_sasl_token_command is None:
                raise ValueError(
                    "CARTSTREAM_KAFKA_SASL_MECHANISM is OAUTHBEARER: set "
                    "CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND, e.g. to /usr/local/bin/kafka-token"
                )
            _check_command(self.kafka_sasl_token_command.get_secret_value())
        elif self.kafka_sasl_mechanism and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ValueError(
                "CARTSTREAM_KAFKA_SASL_MECHANISM is set: set CARTSTREAM_KAFKA_SASL_USERNAME, e.g. to "
                "cartstream, and CARTSTREAM_KAFKA_SASL_PASSWORD too"
            )
        elif self.kafka_sasl_mechanism is None and (
            self.kafka_sasl_username or self.kafka_sasl_token_command
        ):
            raise ValueError(
                "SASL is not used without CARTSTREAM_KAFKA_SASL_MECHANISM: set it, e.g. to SCRAM-SHA-512"
            )

    def _check_tls(self) -> None:
        if (self.kafka_tls_cert is None) != (self.kafka_tls_key is None):
            raise ValueError(
                "CARTSTREAM_KAFKA_TLS_CERT and CARTSTREAM_KAFKA_TLS_KEY belong together, "
                "e.g. /etc/cartstream/client.crt and /etc/cartstream/client.key"
            )
        if not self.kafka_tls and (self.kafka_tls_ca or self.kafka_tls_cert):
            raise ValueError("certificates are not used without TLS: set CARTSTREAM_KAFKA_TLS=true")
        try:
            self.ssl_context()
        except OSError as error:  # an SSLError is one
            raise ValueError(
                "CARTSTREAM_KAFKA_TLS_CA, CARTSTREAM_KAFKA_TLS_CERT or CARTSTREAM_KAFKA_TLS_KEY cannot be "
                f"read as PEM: {error.strerror or error}"
            ) from error

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context of a client, or None without TLS. Each client reads the files anew."""
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
        if self.kafka_sasl_mechanism:
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = self._tokens()
        elif self.kafka_sasl_mechanism and self.kafka_sasl_password:
            options |= {
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value(),
            }
        return options

    def faust_credentials(self) -> CredentialsT | None:
        """The same credentials as an object for Faust's `broker_credentials`, or None in the clear."""
        # Only the Faust processes pay for the import.
        import faust  # noqa: PLC0415

        context = self.ssl_context()
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            return faust.OAuthCredentials(oauth_cb=self._tokens(), ssl_context=context)
        if self.kafka_sasl_mechanism and self.kafka_sasl_password:
            return faust.SASLCredentials(
                username=self.kafka_sasl_username,
                password=self.kafka_sasl_password.get_secret_value(),
                ssl_context=context,
                mechanism=self.kafka_sasl_mechanism,
            )
        return faust.SSLCredentials(context=context) if context else None

    def _tokens(self) -> CommandTokens:
        # A process without tokens has no use for what it takes to read them.
        from runtime.kafka.tokens import command_tokens  # noqa: PLC0415

        if self.kafka_sasl_token_command is None:
            raise ValueError("OAUTHBEARER without CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND")
        return command_tokens(self.kafka_sasl_token_command.get_secret_value())


def _check_command(command: str) -> None:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND: {error}") from error
    if not argv or shutil.which(argv[0]) is None:
        raise ValueError(
            f"CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND: there is no program {argv[0] if argv else 'in it'}, "
            "a right value is /usr/local/bin/kafka-token"
        )


class LogLevel(StrEnum):
    """From which level on events are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(StrEnum):
    """How an event is written."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """One object in each line."""


class LogSettings(Settings):
    """What a process logs, and how."""

    log_level: LogLevel = Field(
        LogLevel.INFO,
        examples=[LogLevel.INFO.value],
        description="events below it are not logged; `info` has the access log, `debug` what libraries do",
    )
    log_format: LogFormat | None = Field(
        None,
        examples=[LogFormat.JSON.value],
        description="`json`: one object in each line; `text`: for people. If not set, `text` on a terminal, "
        "`json` elsewhere",
    )


class TargetSettings(Settings):
    """How Prometheus finds a process."""

    metrics_targets: Path | None = Field(
        None,
        examples=["/run/cartstream/targets"],
        description="folder in which each process says where it serves its metrics, a file for each, as "
        "Prometheus's `file_sd` reads it. `make run` uses `.local/run/targets`",
    )


class ProcessSettings(KafkaSettings, LogSettings, TargetSettings):
    """Settings of every process but the gateway."""

    stop_timeout_s: float = Field(
        default=20.0,
        gt=0.0,
        description="how long a graceful stop may take; a process that takes longer exits with 75",
    )
    ready_file: Path | None = Field(
        default=None,
        examples=["/run/cartstream/streams.ready"],
        description="file that is touched once the process does its work (a Faust worker: has its "
        "partitions and tables) and removed on stop; it holds the address of the probes",
    )
    metrics_host: str | None = Field(
        default=None,
        min_length=1,
        examples=["10.0.0.7"],
        description="address on which [probes](../how-to/monitor.md#probes) and metrics are served. If not "
        "set, all (IPv4) where `CARTSTREAM_METRICS_PORT` is set, and loopback where it is not",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        examples=[9400],
        description="their port. If not set, a free one, which log and ready file name; 0: none is served. "
        "Processes on one host need different ports; the supervisor of several workers has this "
        "one, and its workers the next ones",
    )

    @property
    def worker(self) -> str:
        """What the process is called among others of its kind."""
        return socket.gethostname()

    @property
    def probes_host(self) -> str:
        """Where probes and metrics are served: nobody has asked for them elsewhere than on this host."""
        every = "0.0.0.0" if self.metrics_port else "127.0.0.1"  # noqa: S104  who sets a port wants it reached
        return self.metrics_host or every
