"""Consumer groups as tests look at them."""

from ops.settings import OpsSettings
from ops.workers import GroupReport, look
from runtime.settings import KafkaSettings
from tests.support.waiting import until
from topics.registry import PARTITIONS


async def group_of(kafka: KafkaSettings, name: str) -> GroupReport:
    """What a group is doing now."""
    settings = OpsSettings().model_copy(update={"kafka_bootstrap": kafka.kafka_bootstrap})
    reports = {report.group: report for report in await look(settings, 0.01)}
    return reports[name]


async def until_shared(kafka: KafkaSettings, name: str, count: int) -> GroupReport:
    """Wait until so many members own all partitions, each of them some."""
    report: GroupReport | None = None

    async def shared() -> GroupReport | None:
        nonlocal report
        report = await group_of(kafka, name)
        shares = [len(member.partitions) for member in report.members]
        # Faust leaves partitions where they are, so the shares need not be equal.
        shared = len(shares) == count and sum(shares) == PARTITIONS and all(shares)
        return report if shared and report.state == "stable" else None

    try:
        found = await until(shared, f"{count} members share {name}", every_s=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}: {report}") from error
    assert found is not None
    return found
