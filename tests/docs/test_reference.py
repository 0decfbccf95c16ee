"""The pages say what the code has: every setting, every metric, and only commands that exist."""

import re

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase
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
from docs.settings_reference import PAGE, SECTIONS, Section, own_fields, page, secret
from gateway.identity.openapi import SECURITY_SCHEMES
from gateway.identity.principal import Scope
from gateway.metrics import Metrics
from sinks.mail.settings import MailSinkSettings
from tests.docs.tables import REFERENCE, ROOT, rows

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


def test_the_page_of_settings_is_made_from_their_classes() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), "the page is older than the settings: run `make reference`"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_setting_says_what_it_is_for(section: Section) -> None:
    silent = [name for name, field in own_fields(section.settings).items() if not field.description]
    assert silent == [], "give the field a description, then run `make reference`"


def test_a_setting_is_shown_with_type_default_range_and_whether_it_is_secret() -> None:
    (section,) = (section for section in SECTIONS if section.settings is MailSinkSettings)
    shown = {row[0].removeprefix("CARTSTREAM_"): row[1:5] for row in rows(PAGE, section.title)}
    assert shown["SMTP_PASSWORD"] == ["text", "", "", "yes"]
    assert shown["SMTP_PORT"] == ["port", "1025", "at least 1, at most 65535", ""]
    assert shown["SMTP_TLS"] == ["one of", "none", "none, starttls, tls", ""]
    assert shown["SMTP_TIMEOUT_S"] == ["seconds", "60", "above 0, at most 600", ""]
    assert shown["SHOP_NAME"] == ["text", "Cartstream demo shop", "not empty, at most 100 characters", ""]


def test_what_is_masked_in_the_log_is_marked_as_secret() -> None:
    fields = {name: field for section in SECTIONS for name, field in own_fields(section.settings).items()}
    masked = {name for name, field in fields.items() if "SecretStr" in str(field.annotation)}
    assert {name for name, field in fields.items() if secret(field) == "yes"} == masked
    assert secret(fields["redis_url"]) == "in part"


def test_every_class_of_settings_has_its_section() -> None:
    def below(settings: type[BaseSettings]) -> set[type[BaseSettings]]:
        return {settings}.union(*(below(one) for one in settings.__subclasses__()))

    foreign = ("openapi", "pydantic", "tests")
    product = {one for one in below(BaseSettings) if not one.__module__.startswith(foreign)}
    declaring = {one for one in product if any(name in one.model_fields for name in one.__annotations__)}
    assert declaring == {section.settings for section in SECTIONS}


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
