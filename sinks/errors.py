"""What can go wrong in the sinks, and whether trying again can help."""


class SinkError(Exception):
    """A sink cannot do its work."""


class RestoreStartsOver(SinkError):
    """Redis was lost or rolled back while a partition was being restored: what was put may be gone."""


class KeeperFailed(SinkError):
    """A partition of Redis is not kept any more, and only a new process can mend it."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} has stopped to follow")


class CatalogueStalled(SinkError):
    """There are products to follow and nothing moves: only a new process can mend it."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class ClientDied(SinkError):
    """The Kafka client has ended without a word: only a new process can mend it."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)
