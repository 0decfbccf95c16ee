"""Settings of the embedded stack: the data folder and the ports, and the addresses that follow from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import Field

from devstack.files import password_file
from runtime.history import HistorySettings
from runtime.owners import OwnerSettings

HOST = "127.0.0.1"
KAFKA, REDIS, POSTGRES, MAILBOX, OPS = "kafka", "redis", "postgres", "mailbox", "ops"

PORTS = (
    "gateway_port",
    "kafka_port",
    "kafka_controller_port",
    "redis_port",
    "postgres_port",
    "mailbox_smtp_port",
    "mailbox_port",
    "ops_port",
)
"""The settings that are ports, in the order in which they are given together."""

Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the servers of a stack answer."""

    kafka_bootstrap: str
    redis: str
    postgres: str
    gateway: str
    mailbox: str
    ops: str

    def environment(self) -> dict[str, str]:
        """The variables by which the product's processes find the servers."""
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "CARTSTREAM_REDIS_URL": self.redis,
            "CARTSTREAM_POSTGRES_URL": self.postgres,
        }


class StackSettings(OwnerSettings, HistorySettings):
    """The embedded stack's settings, each from `CARTSTREAM_<NAME>`."""

    data_dir: Path = Field(Path(".local"), examples=[".local"], description="data, logs and status")
    cache_dir: Path = Field(
        Path("~/.cache/cartstream"),
        examples=["~/.cache/cartstream"],
        description="downloaded jars, shared by all clones",
    )
    compaction_workers: int = Field(1, ge=1, le=64, examples=[2], description="workers of compaction")
    gateway_port: Port = Field(8000, examples=[8000], description="port of the gateway")
    kafka_port: Port = Field(9092, examples=[9092], description="port of Kafka")
    kafka_controller_port: Port = Field(9093, examples=[9093], description="port of Kafka's controller")
    redis_port: Port = Field(6379, examples=[6379], description="port of Valkey")
    postgres_port: Port = Field(5432, examples=[5432], description="port of Postgres")
    postgres_password_file: Path | None = Field(
        None,
        examples=[".local/postgres.password"],
        description="password of the embedded Postgres, as libpq reads it; if not set, "
        "`postgres.password` in the data folder",
    )
    mailbox_smtp_port: Port = Field(
        1025, examples=[1025], description="port on which the mailbox takes mails"
    )
    mailbox_port: Port = Field(8025, examples=[8025], description="port of the mailbox's page")
    ops_port: Port = Field(8030, examples=[8030], description="port of the operations page")
    mailbox_host: str = Field(HOST, examples=[HOST], description="address the mailbox listens on")

    def with_port_base(self, base: int) -> Self:
        """These settings with all ports in a row from `base`, in the order of PORTS."""
        return self.with_ports(*range(base, base + len(PORTS)))

    def with_ports(self, *ports: int) -> Self:
        """These settings with other ports, in the order of PORTS; those not given stay."""
        return self.model_copy(update=dict(zip(PORTS, ports, strict=False)))

    @property
    def mail_folder(self) -> Path:
        """Where the mailbox keeps its mails."""
        return self.data_dir / "mail"

    @property
    def password_file(self) -> Path:
        """Where the password of Postgres is."""
        return (self.postgres_password_file or password_file(self.data_dir)).resolve()

    @property
    def urls(self) -> Urls:
        """The addresses that these ports make."""
        return Urls(
            kafka_bootstrap=f"{HOST}:{self.kafka_port}",
            redis=f"redis://{HOST}:{self.redis_port}/0",
            postgres=(
                f"postgresql://cartstream@{HOST}:{self.postgres_port}/cartstream"
                f"?passfile={quote(str(self.password_file), safe='')}"
            ),
            gateway=f"http://{HOST}:{self.gateway_port}",
            mailbox=f"http://{HOST}:{self.mailbox_port}",
            ops=f"http://{HOST}:{self.ops_port}/ops",
        )
