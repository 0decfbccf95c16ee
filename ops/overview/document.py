"""The overview: one document with everything that an operator should see first."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from ops.overview.processes import Process
from ops.overview.stores import KafkaHealth, RedisHealth
from ops.overview.traffic import Job, Timing, Traffic
from ops.workers import GroupReport
from store.postgres.overview import Tables

T = TypeVar("T")


class Severity(StrEnum):
    """How bad it is."""

    BAD = "bad"
    """Shoppers notice, or will soon."""
    WARNING = "warning"
    NOTE = "note"


class Trouble(msgspec.Struct, frozen=True):
    """Something that is wrong, what to do, and the part of the page that shows it."""

    severity: Severity
    what: str
    do: str
    where: str


class Part(msgspec.Struct, Generic[T], frozen=True):
    """What was last known of something, and why nothing newer is, if that is so."""

    value: T | None = None
    error: str = ""


class Letters(msgspec.Struct, frozen=True):
    """How many dead letters are open, by code; `position` rises with all that is written to the topic.

    `more`: others may be open as well, older ones or some that were not read yet.
    """

    open: int
    codes: Mapping[str, int]
    position: int
    more: bool = False


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of the last minutes (`at`: Unix time in seconds), for the curves; None is not known."""

    at: float
    changes_per_s: float | None
    reads_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    lag: int | None
    outbox: int | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as of `at` (Unix time in seconds)."""

    at: float
    looked: bool
    """Whether every part was looked at, with or without an answer."""
    troubles: list[Trouble]
    traffic: Traffic
    times: list[Timing]
    jobs: list[Job]
    processes: list[Process]
    redis: Part[RedisHealth]
    kafka: Part[KafkaHealth]
    postgres: Part[Tables]
    groups: Part[list[GroupReport]]
    letters: Part[Letters]
    points: list[Point]
