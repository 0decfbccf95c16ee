"""Whether a write failed because of a record: a non-retryable error, the record becomes a dead letter."""

import psycopg

from topics.errors import RecordError


def is_data_error(error: BaseException) -> bool:
    """Whether a record is to blame: it becomes a dead letter, and the others are written."""
    return isinstance(error, RecordError) or is_bad_data(error)


def is_bad_data(error: BaseException) -> bool:
    """Whether the rows are to blame, so that a retry cannot help: SQLSTATE classes 22, 23 and 54.

    22 and 23 are psycopg's DataError and IntegrityError, which it also raises itself for what it cannot send.
    54 is a value beyond a limit of the program.
    """
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("54")
