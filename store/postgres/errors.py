"""What can go wrong with the schema in Postgres."""


class SchemaError(Exception):
    """The database has not the schema that this version needs."""


class MigrationFailed(SchemaError):
    """The database could not be brought to this version's schema; nothing of the failed step was kept."""


class SchemaOutdated(SchemaError):
    """The database lacks a table or column of this version: run `cartstream migrate`. The sink waits."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class NotGranted(SchemaOutdated):
    """The user may not do this in the schema: let its owner run `cartstream grants --apply`. Sinks wait."""
