"""What the contract refuses: records nobody can read, topics that are not as they must be."""

from enum import StrEnum


class TopicsError(Exception):
    """Something about the topics is wrong."""


class RecordErrorCode(StrEnum):
    """Why a record cannot be read; stands in dead letters and metrics."""

    EMPTY = "empty"
    NOT_JSON = "not_json"
    INVALID = "invalid"
    UNKNOWN_KIND = "unknown_kind"
    BAD_CART_ID = "bad_cart_id"
    BAD_VERSION = "bad_version"
    BAD_STEPS = "bad_steps"
    BAD_SEED = "bad_seed"


class RecordError(TopicsError):
    """A record that nobody can read. Reading it again does not help: it belongs into the dead letters."""

    def __init__(self, code: RecordErrorCode, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class TopicsDiffer(TopicsError):
    """The cluster's topics are not what the registry says: `cartstream topics check` shows the differences."""


class TopicsRefused(TopicsError):
    """The cluster refused to create or alter a topic."""
