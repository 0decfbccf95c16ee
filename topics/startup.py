"""The check of the topics when a process starts."""

import asyncio
import sys

from runtime.failstop import EXIT_RESTART, end_at_sigterm
from runtime.settings import KafkaSettings
from topics.access import Role
from topics.apply import require
from topics.errors import ClusterRefusesError, ClusterUnreachableError, TopicsDifferError


def require_topics(command: str, kafka: KafkaSettings, partitions: int, role: Role) -> None:
    """Return if the role has its rights, and its topics are as the settings say.

    `command` names the process in what stderr is told. Exits with 1 when something has to be
    mended, with 75 when the cluster does not answer and a restart may help. From now on SIGTERM ends the
    process at once, until it begins its work.
    """
    end_at_sigterm()
    try:
        asyncio.run(require(kafka, partitions=partitions, specs=role.topics, role=role))
    except (TopicsDifferError, ClusterRefusesError) as error:
        sys.exit(f"cartstream {command}: {error}")
    except ClusterUnreachableError as error:
        # Logging starts with the worker.
        sys.stderr.write(f"cartstream {command}: {error}\n")
        sys.exit(EXIT_RESTART)
