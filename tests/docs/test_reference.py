"""The pages say what the code has: every setting, every metric, and only commands that exist."""

import re

import click
import pytest
from pydantic_settings import BaseSettings

from cli.main import cartstream
from docs import metrics_reference
from docs.settings_reference import PAGE, SECTIONS, Section, own_fields, page, secret
from gateway.identity.openapi import SECURITY_SCHEMES
from gateway.identity.principal import Scope
from sinks.mail.settings import MailSinkSettings
from tests.docs.tables import REFERENCE, ROOT, rows


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


def test_the_page_of_metrics_is_made_from_them() -> None:
    written = metrics_reference.PAGE.read_text(encoding="utf-8")
    assert written == metrics_reference.page(), "the page is older than the metrics: run `make reference`"


@pytest.mark.parametrize("section", metrics_reference.SECTIONS, ids=lambda section: section.title)
def test_every_metric_is_listed_with_type_and_labels(section: metrics_reference.Section) -> None:
    found = {
        (metric.name, metric.type, ", ".join(metric.labels))
        for metric in metrics_reference.described(section)
    }
    assert {tuple(row[:3]) for row in rows(REFERENCE / "metrics.md", section.title)} == found


def test_every_module_of_metrics_has_its_section() -> None:
    modules = [path for path in ROOT.glob("*/**/*metrics.py") if path.parts[len(ROOT.parts)] != "tests"]
    named = {name for path in modules for name in re.findall(r'"(cartstream_[a-z_]+)"', path.read_text())}
    assert named == set(metrics_reference.every_metric())


def test_every_metric_is_named_by_the_rules() -> None:
    """Of Prometheus: the part, what it is, the unit last; a duration is in seconds."""
    for metric in metrics_reference.every_metric().values():
        assert re.fullmatch(r"cartstream(_[a-z]+)+", metric.name), metric.name
        assert (metric.type == "counter") == metric.name.endswith("_total"), metric.name
        assert not re.search(r"_(s|ms|millis|kb|minutes)(_|$)", metric.name), metric.name
        assert metric.meaning, metric.name


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
