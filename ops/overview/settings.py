"""Settings of who looks at everything: which processes there are."""

from pydantic import Field, SecretStr, field_validator

from ops.overview.targets import given
from ops.settings import OpsSettings
from runtime.history import HistorySettings


class OverviewSettings(OpsSettings, HistorySettings):
    """The stores of an operator, and where the processes answer."""

    ops_targets: str = Field(
        "",
        examples=["gateway=http://10.0.0.5:8000,compaction=http://10.0.0.7:9400"],
        description="processes whose metrics and probes are read, beside those in the folder "
        "`CARTSTREAM_METRICS_TARGETS`: addresses with a name before `=`, separated by commas. With `dns+` "
        "before an address (`gateway=dns+http://gateways:8000`) each IP address of its host is a process",
    )
    ops_targets_token: SecretStr | None = Field(
        None,
        description="service token that these addresses are asked with: gateways in production mode want one",
    )

    @field_validator("ops_targets")
    @classmethod
    def _has_addresses(cls, value: str) -> str:
        given(value)
        return value
