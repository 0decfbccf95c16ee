"""Whether there is a history of carts, and how long it is kept."""

from pydantic import Field

from runtime.settings import Settings


class HistorySettings(Settings):
    """The history, from `CARTSTREAM_HISTORY` and `CARTSTREAM_HISTORY_DAYS`."""

    history: bool = Field(
        default=False,
        examples=[True],
        description="`true`: every operation of every cart is written to Postgres. Gateways answer for "
        "the history, jobs prepare its days, `cartstream up` starts its sink",
    )
    history_days: int = Field(
        30,
        ge=1,
        le=3650,
        examples=[30],
        description="how long an operation is kept; the job `history` drops older days, also where the "
        "history is off",
    )
