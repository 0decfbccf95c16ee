"""Settings of live carts, each `CARTSTREAM_<NAME>`."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import PREFIX


class LiveSettings(BaseSettings):
    """How many streams there may be, and how each is kept up. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    live_streams_max: int = Field(
        5000, ge=0, examples=[5000], description="streams of one worker; 0 switches live carts off"
    )
    live_streams_per_cart: int = Field(10, ge=1, examples=[10], description="streams of one cart at a worker")
    live_heartbeat_s: float = Field(
        15.0, gt=0, le=300, examples=[15], description="a comment is sent after this long without an event"
    )
    live_pause_s: float = Field(
        0.1,
        ge=0,
        le=10,
        examples=[0.1],
        description="between two events of a cart; changes meanwhile are one",
    )
    live_slow_reader_s: float = Field(
        10.0,
        gt=0,
        le=300,
        examples=[10],
        description="a client that has not read an event by then is dropped",
    )
    live_lifetime_s: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        examples=[3600],
        description="a stream ends then, and its caller proves itself anew",
    )
    live_ticket_s: float = Field(30.0, gt=0, le=300, examples=[30], description="how long a ticket is good")
