"""The pages say what the code has: every setting, every metric, and only commands that exist."""

import re
from typing import Any

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic_settings import BaseSettings

import delivery.metrics
import jobs.metrics
import sinks.history.metrics
import sinks.mail.metrics
import sinks.postgres.metrics
import sinks.redis.metrics
import streams.merge_metrics
import streams.metrics
import topics.metrics
from cli.main import cartstream
from cli.topics import TopicCommandSettings
from delivery.settings import DeliverySettings
from devstack.settings import StackSettings
from gateway.identity.openapi import SECURITY_SCHEMES
from gateway.identity.principal import Scope
from gateway.identity.settings import IdentitySettings
from gateway.live.settings import LiveSettings
from gateway.metrics import Metrics
from gateway.rates.settings import RateSettings
from gateway.server.settings import ServerSettings
from gateway.settings import GatewaySettings
from jobs.settings import JobsSettings
from ops.settings import OpsSettings
from runtime.history import HistorySettings
from runtime.owners import OwnerSettings
from runtime.recovery import RecoverySettings
from runtime.settings import PREFIX, KafkaSettings, ProcessSettings
from sinks.mail.settings import MailSinkSettings
from sinks.settings import HistorySinkSettings, PostgresSinkSettings, RedisSinkSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from streams.settings import MergeSettings, StreamsSettings
from tests.docs.tables import REFERENCE, ROOT, rows
from topics.retention import RetentionSettings
from topics.settings import TopicSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "Kafka": KafkaSettings,
    "Topics": TopicSettings,
    "Topic commands": TopicCommandSettings,
    "Redis": RedisSettings,
    "Retention": RetentionSettings,
    "Postgres": PostgresSettings,
    "Owners": OwnerSettings,
    "History": HistorySettings,
    "Process": ProcessSettings,
    "Faust worker": DeliverySettings,
    "Compaction": StreamsSettings,
    "Merge agent": MergeSettings,
    "Postgres sink": PostgresSinkSettings,
    "History sink": HistorySinkSettings,
    "Redis sink": RedisSinkSettings,
    "Mail": MailSinkSettings,
    "Jobs": JobsSettings,
    "Recovery links": RecoverySettings,
    "Identity": IdentitySettings,
    "Live carts": LiveSettings,
    "HTTP server": ServerSettings,
    "Rate limits": RateSettings,
    "Gateway": GatewaySettings,
    "Embedded stack": StackSettings,
}
"""The class behind each section: the section has the fields that the class itself declares."""

PROCESSES = {
    "cartstream gateway": GatewaySettings,
    "cartstream streams compaction": StreamsSettings,
    "cartstream streams merges": MergeSettings,
    "cartstream sinks postgres": PostgresSinkSettings,
    "cartstream sinks redis": RedisSinkSettings,
    "cartstream sinks mail": MailSinkSettings,
    "cartstream sinks history": HistorySinkSettings,
    "cartstream jobs": JobsSettings,
    "cartstream verify": OpsSettings,
    "cartstream up": StackSettings,
}
"""The class that the first command of each row of the table of processes reads."""

METRICS = {
    "Gateway": vars(Metrics()),
    "All processes with topics": vars(topics.metrics),
    "Faust workers": vars(delivery.metrics),
    "Compaction": vars(streams.metrics),
    "Merge agent": vars(streams.merge_metrics),
    "Postgres sink": vars(sinks.postgres.metrics),
    "History sink": vars(sinks.history.metrics),
    "Redis sink": vars(sinks.redis.metrics),
    "Mail sink": vars(sinks.mail.metrics),
    "Jobs": vars(jobs.metrics),
}


@pytest.mark.parametrize("section", SETTINGS)
def test_every_setting_is_listed_with_its_default(section: str) -> None:
    settings = SETTINGS[section]
    own = [name for name in settings.__annotations__ if name in settings.model_fields]
    documented = {row[0]: row[1] for row in rows(REFERENCE / "settings.md", section)}
    assert documented == {
        f"{PREFIX}{name.upper()}": shown(settings.model_fields[name].default) for name in own
    }


def test_every_process_is_listed_with_the_sections_it_reads() -> None:
    documented = {
        row[0].partition(",")[0]: set(re.findall(r"\[([^\]]+)\]", row[1]))
        for row in rows(REFERENCE / "settings.md", "Processes")
    }
    assert documented == {
        process: {section for section, one in SETTINGS.items() if issubclass(settings, one)}
        for process, settings in PROCESSES.items()
    }


def shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


def test_every_class_of_settings_has_its_section() -> None:
    def below(settings: type[BaseSettings]) -> set[type[BaseSettings]]:
        return {settings}.union(*(below(one) for one in settings.__subclasses__()))

    foreign = ("openapi", "pydantic", "tests")
    product = {one for one in below(BaseSettings) if not one.__module__.startswith(foreign)}
    declaring = {one for one in product if any(name in one.model_fields for name in one.__annotations__)}
    assert declaring == set(SETTINGS.values())


@pytest.mark.parametrize("section", METRICS)
def test_every_metric_is_listed_with_type_and_labels(section: str) -> None:
    found = [
        described(metric) for metric in METRICS[section].values() if isinstance(metric, MetricWrapperBase)
    ]
    assert {tuple(row[:3]) for row in rows(REFERENCE / "metrics.md", section)} == set(found)


def described(metric: MetricWrapperBase) -> tuple[str, str, str]:
    """Name, type and labels of a metric, as its samples show them."""
    (family,) = metric.describe()
    suffix = "_total" if family.type == "counter" else ""
    labels = metric._labelnames  # noqa: SLF001  # a metric without samples tells them in no other way
    return f"{family.name}{suffix}", family.type, ", ".join(labels)


def test_every_scope_is_listed_and_in_the_openapi_document() -> None:
    assert {row[0] for row in rows(ROOT / "docs" / "how-to" / "secure.md", "Services")} == set(Scope)
    described = SECURITY_SCHEMES["bearer"]["description"]
    assert [scope for scope in Scope if scope not in described] == []


def test_every_command_that_a_page_names_exists() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    said = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.name != "CHANGELOG.md")
    unknown = set()
    for words in re.findall(r"(?:`|\$ (?:\.venv/bin/)?)cartstream ([a-z]+(?: [a-z]+)?)", said):
        name, _, rest = words.partition(" ")
        command = cartstream.get_command(click.Context(cartstream), name)
        if command is None or (rest and isinstance(command, click.Group) and rest not in command.commands):
            unknown.add(words)
    assert not unknown
