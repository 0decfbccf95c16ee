"""Settings every Faust process shares; a process extends this class with its own."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from runtime.settings import ProcessSettings


class DeliverySettings(ProcessSettings):
    """Delivery's part of a process's settings, from `CARTSTREAM_*`."""

    workers: int = Field(default=1, ge=1, le=64, examples=[4])
    """Processes on this host that share the group's partitions; with several, a supervisor keeps them."""
    group_instance_id: str | None = Field(default=None, examples=["streams-0"])
    """Static membership: stable per worker, different between workers (`streams-0`). With it a worker that
    was killed, or renewed with SIGHUP, is back in a second; without it its partitions idle for the session
    timeout, or move to others. Several workers append their number to it; without it, to the host's name."""
    session_timeout_s: float = Field(default=10.0, ge=1.0)
    commit_interval_s: float = Field(default=1.0, gt=0.0)
    datadir: Path = Field(default=Path(".local/faust"), examples=["/var/lib/cartstream/streams-0"])
    """Where a table's worker keeps its local store; one folder per worker, on a disk that outlives it."""
    local_store_max_age_s: float = Field(default=6 * 3600.0, gt=0.0)
    """A local store that was left for longer is thrown away: it must be well below the changelog's
    `delete.retention.ms`, or the store would remember keys whose tombstone is gone."""
    local_store_cache_bytes: int = Field(default=32 << 20, ge=1 << 20)
    """Memory for blocks that the local store has read."""
    local_store_write_buffer_bytes: int = Field(default=32 << 20, ge=1 << 20)
    """Memory in which the local store collects what it writes; it may take twice as much for a while."""
    max_record_bytes: int = Field(default=1 << 20, ge=1 << 16)
    """Largest record value. Producer and fetch limits follow from it."""
    dead_letter_topic: str = "dead-letters"
    stall_after_s: float = Field(default=60.0, gt=0.0)
    """A partition with lag whose offset has not moved for this long ends the process (exit 75)."""
