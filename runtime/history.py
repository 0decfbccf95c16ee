"""Whether there is a history of carts, and how long it is kept."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX


class HistorySettings(BaseSettings):
    """The history, from `CARTSTREAM_HISTORY` and `CARTSTREAM_HISTORY_DAYS`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    history: bool = Field(
        default=False, examples=[True], description="every operation of every cart is written to Postgres"
    )
    history_days: int = Field(
        30, ge=1, le=3650, examples=[30], description="how long the history keeps an operation"
    )
