"""Errors of the contract: unreadable records, and topics that are not as they must be."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topics.plan import Difference


class TopicsError(Exception):
    """Something about the topics is wrong."""


class RecordErrorCode(StrEnum):
    """Why a record cannot be read; used in dead letters and metrics."""

    EMPTY = "empty"
    NOT_JSON = "not_json"
    INVALID = "invalid"
    UNKNOWN_KIND = "unknown_kind"
    BAD_CART_ID = "bad_cart_id"
    BAD_VERSION = "bad_version"
    BAD_STEPS = "bad_steps"
    BAD_SEED = "bad_seed"
    BAD_PRODUCT = "bad_product"
    WRONG_PARTITION = "wrong_partition"


class RecordError(TopicsError):
    """An unreadable record: a non-retryable error, the record becomes a dead letter."""

    def __init__(self, code: RecordErrorCode, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class ClusterUnreachableError(TopicsError):
    """The cluster did not answer; asking again later may help."""


class ClusterRefusesError(TopicsError):
    """The cluster does not let this client in, or not do its work; asking again does not help."""


class TopicsRefusedError(TopicsError):
    """The cluster refused to create or alter a topic, or has not made it ready."""


class SchemaRegistryError(TopicsError):
    """The schema registry did not answer, or refused; the message says what to do."""


class TopicsDifferError(TopicsError):
    """The cluster's topics are not as they must be, and `cartstream topics apply` may not change that."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self.differences = differences
        lines = (
            f"{diff.topic}: {diff.setting} is {diff.found}, expected {diff.expected}: {diff.advice}"
            for diff in differences
        )
        super().__init__("; ".join(lines))
