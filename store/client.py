"""One connection for all: the requests of one event-loop tick share a pipeline."""

from typing import Any, Self

from store.settings import RedisSettings


class PipelinedClient:
    """A connection to one Redis server that reconnects by itself. Belongs to one event loop."""

    def __init__(self, settings: RedisSettings, *, name: str = "cartstream") -> None:
        """`name` is shown by CLIENT LIST."""

    async def connect(self) -> None:
        """Connect and load the scripts. Raises StoreUnavailable if that does not work within the connect timeout."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close; requests under way fail with UnknownOutcome."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, *command: bytes | str | int | float) -> Any:
        """The reply to one command: bytes, int, list or None. Raises StoreError."""
        raise NotImplementedError
