"""What a singleton job is: work that one process at a time does, under a lock in Postgres."""

from typing import Any, Protocol

import psycopg


class Job(Protocol):
    """Work done by whichever process holds the job's lock.

    Safety never rests on the lock, it only keeps two processes from doing the same work twice: a process that
    froze and woke up may go on for a moment beside its successor. Everything a job does is guarded where it
    lands (the fold, a unique key, a row lock), and doing it twice changes nothing.
    """

    @property
    def name(self) -> str:
        """Short, for locks, logs and metrics; unique among the jobs."""
        ...

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Work until cancelled, or until there is nothing to do for a while; called again after a pause.

        `connection` holds the lock, in autocommit mode and with a statement timeout: it is the job's to use,
        but no statement and no wait for notifications on it may take longer than
        `leadership.BUSY_SECONDS`. When it is lost the job is cancelled. Clients of Kafka and Redis are made
        and left in here, so that every start has new ones. Whatever is raised is logged and counted, and the
        job is called again with backoff.
        """
        ...
