"""Settings every Faust process shares; a process extends this class with its own."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from runtime.settings import ProcessSettings
from topics.registry import DEAD_LETTERS


class DeliverySettings(ProcessSettings):
    """Delivery's part of a process's settings, from `CARTSTREAM_*`."""

    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        examples=[4],
        description="processes on this host that share the partitions of the group, also `--workers`: "
        "[Scale](../how-to/scale.md)",
    )
    group_instance_id: str | None = Field(
        default=None,
        examples=["streams-0"],
        description="static membership: a stable name per worker, different between workers, such as "
        "`streams-0`. A worker that was killed, or renewed with SIGHUP, is back at once; "
        "without it its partitions idle for the session timeout. Of two workers with one name "
        "the older ends with 1. Several workers append their number to it, and to the host's "
        "name if it is not set",
    )
    session_timeout_s: float = Field(
        default=10.0, ge=1.0, description="a worker that is silent for this long loses its partitions"
    )
    commit_interval_s: float = Field(default=1.0, gt=0.0, description="pause between commits of offsets")
    datadir: Path = Field(
        default=Path(".local/faust"),
        examples=["/var/lib/cartstream/streams-0"],
        description="where the worker keeps its [local store](glossary.md#local-store); one writable "
        "folder per worker, on a disk that outlives it",
    )
    local_store_max_age_s: float = Field(
        default=6 * 3600.0,
        gt=0.0,
        description="a local store that was left for longer is not trusted: the worker reads the "
        "changelog from its beginning. At most half of the changelog's `delete.retention.ms`, "
        "or deleted carts could come back",
    )
    local_store_cache_bytes: int = Field(
        default=32 << 20, ge=1 << 20, description="memory for blocks that the local store has read"
    )
    local_store_write_buffer_bytes: int = Field(
        default=32 << 20,
        ge=1 << 20,
        description="memory in which the local store collects what it writes; twice as much for moments",
    )
    max_record_bytes: int = Field(
        default=1 << 20,
        ge=1 << 16,
        description="largest record value; producer and fetch limits follow from it",
    )
    dead_letter_topic: str = Field(DEAD_LETTERS.name, description="where records go that cannot be processed")
    stall_after_s: float = Field(
        default=60.0,
        gt=0.0,
        description="a worker whose partition has lag but makes no progress for this long exits with 75",
    )

    @property
    def worker(self) -> str:
        """What the worker is called in its group."""
        return self.group_instance_id or super().worker
