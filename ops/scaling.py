"""Keeps the number of workers of a group at what its lag asks for."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError

from ops.settings import OpsSettings
from ops.workers import GroupReport, look
from runtime.supervision.scaling import Load, Policy, decide, initial
from runtime.supervision.supervisor import Supervisor
from topics.errors import TopicsError
from topics.groups import GROUPS

log = structlog.get_logger(__name__)

_LOOK_WITHIN_S = 30.0


async def keep_scaled(
    supervisor: Supervisor, settings: OpsSettings, command: str, policy: Policy, every_s: float
) -> None:
    """Look every so often at the groups of `cartstream <command>`, and scale; until cancelled.

    A look that fails changes nothing and is logged.
    """
    groups = [group for group in GROUPS if group.command == command]
    scale = initial(policy)
    while True:
        await asyncio.sleep(every_s)
        load = None
        try:
            async with asyncio.timeout(_LOOK_WITHIN_S):
                load = load_of(await look(settings, 0.0, groups))
        except (KafkaError, TopicsError, TimeoutError) as error:
            log.warning("scaling.lag_unknown", workers=command, error=repr(error))
        scale = decide(policy, scale, load, time.monotonic())
        if scale.count != supervisor.count:
            log.info(
                "scaling.decided",
                workers=command,
                before=supervisor.count,
                count=scale.count,
                behind_s=load.behind_s if load else None,
            )
            await supervisor.scale(scale.count)


def load_of(reports: Sequence[GroupReport]) -> Load | None:
    """What the reports say of workers that are in all these groups; None if one is not known."""
    ages = [report.behind_s for report in reports]
    if None in ages:
        return None
    return Load(
        behind_s=max(age for age in ages if age is not None), spare=all(report.spare for report in reports)
    )
