"""What can go wrong in the sinks, and whether trying again can help."""


class SinkError(Exception):
    """A sink cannot do its work."""


class MigrationFailed(SinkError):
    """The database could not be brought to this version's schema; nothing of the failed step was kept."""


class RestoreStartsOver(SinkError):
    """Redis was lost or rolled back while a partition was being restored: what was put may be gone."""


class ReadStalled(SinkError):
    """A partition could not be read to its end: the broker does not answer."""

    def __init__(self, topic: str, partition: int, position: int, end: int) -> None:
        super().__init__(f"{topic}/{partition} stands at {position} and should reach {end}: the broker does not answer")
