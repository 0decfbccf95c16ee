"""Errors of the sinks, and whether a retry can help."""


class SinkError(Exception):
    """A sink cannot do its work."""


class RestoreStartsOver(SinkError):
    """Redis was lost or rolled back while a partition was being restored: what was put may be gone."""


class GenerationClosed(SinkError):
    """Carts have moved to another generation of their topics: this one opens no partition any more."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RowsUnavailable(SinkError):
    """Postgres does not answer, or has no rows to read: carts come from Kafka alone."""


class RowUnreadable(SinkError):
    """The row of a cart cannot be read, and what it says is needed."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class FollowerFailed(SinkError):
    """A partition is no longer followed: a non-retryable error, only a new process helps."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} is no longer followed")


class CatalogueStalled(SinkError):
    """There are product records to read and no progress: a non-retryable error, only a new process helps."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class TopicMadeAnew(SinkError):
    """The topic was deleted and made anew: a non-retryable error, a new process begins in the new one."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"{topic} was deleted and made anew")


class ClientDied(SinkError):
    """A Kafka client works no more: a non-retryable error, only a new process helps."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{self.__doc__} {why}")
