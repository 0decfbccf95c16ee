"""Settings of live carts, each `CARTSTREAM_<NAME>`."""

from pydantic import Field

from runtime.settings import Settings


class LiveSettings(Settings):
    """How many streams there may be, and how each is kept up. Times in seconds."""

    live_streams_max: int = Field(
        5000, ge=0, examples=[5000], description="streams of one worker; 0 switches live carts off"
    )
    live_streams_per_cart: int = Field(
        10, ge=1, examples=[10], description="streams of one cart at one worker"
    )
    live_heartbeat_s: float = Field(
        15.0,
        gt=0,
        le=300,
        examples=[15],
        description="silence after which a comment is sent; at most the longest request",
    )
    live_pause_s: float = Field(
        0.1,
        ge=0,
        le=10,
        examples=[0.1],
        description="shortest time between two events of a cart; changes in it become one event",
    )
    live_slow_reader_s: float = Field(
        10.0,
        gt=0,
        le=300,
        examples=[10],
        description="a client that has not read an event after this time is disconnected",
    )
    live_lifetime_s: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        examples=[3600],
        description="how long a stream lasts before its caller has to prove itself anew",
    )
    live_ticket_s: float = Field(
        30.0, gt=0, le=300, examples=[30], description="how long a ticket for a stream is good"
    )
