"""What a consumer group has committed, while its coordinator comes, refuses, or is not known yet."""

from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
)

from runtime.settings import KafkaSettings
from topics.cluster import Cluster
from topics.committed import committed_offsets

PLACES = [("carts", [(0, 7, "", 0), (1, -1, "", 0)])]


class Fetched(NamedTuple):
    """What the coordinator answers."""

    error_code: int
    topics: list[tuple[str, list[tuple[int, int, str, int]]]]


class Admin:
    """Fails in the order of `failures`, then answers."""

    def __init__(self, *failures: Exception | Fetched) -> None:
        self._failures = list(failures)

    async def find_coordinator(self, _group: str) -> int:
        """The id of a broker."""
        if self._failures and isinstance(self._failures[0], Exception):
            raise self._failures.pop(0)  # type: ignore[misc]  # it is one
        return 1

    async def _send_request(self, _request: Any, node: int) -> Fetched:
        assert node == 1
        refusal = self._failures.pop(0) if self._failures else Fetched(0, PLACES)
        assert isinstance(refusal, Fetched)
        return refusal


def cluster(*failures: Exception | Fetched) -> Cluster:
    return Cluster(KafkaSettings(), Admin(*failures))


async def test_a_coordinator_that_comes_late_is_waited_for() -> None:
    late = GroupCoordinatorNotAvailableError()
    loading = Fetched(GroupLoadInProgressError.errno, [])
    assert await cluster(late, late, loading).committed("g") == {TopicPartition("carts", 0): 7}


async def test_a_coordinator_that_loads_has_not_committed_nothing() -> None:
    # As `cartstream workers` asks: a position that is not known is not the topic's beginning.
    admin: Any = Admin(Fetched(GroupLoadInProgressError.errno, []), Fetched(0, PLACES))
    assert await committed_offsets(admin, "g") == {TopicPartition("carts", 0): 7}


async def test_a_coordinator_that_refuses_has_not_committed_nothing() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await cluster(Fetched(GroupAuthorizationFailedError.errno, [])).committed("g")
