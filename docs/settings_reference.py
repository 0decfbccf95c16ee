"""Makes the page of settings from their classes: `python -m docs.settings_reference`, or `make reference`.

What a setting is for stands at its field, in Markdown whose links are relative to docs/reference/. Here is
what belongs to no field: the order of the sections, and what is said once for a whole section.
"""

import types
import typing
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from cli.topics import TopicCommandSettings
from delivery.settings import DeliverySettings
from devstack.settings import StackSettings
from gateway.identity.settings import IdentitySettings
from gateway.live.settings import LiveSettings
from gateway.rates.settings import RateSettings
from gateway.server.settings import ServerSettings
from gateway.settings import GatewaySettings
from jobs.settings import JobsSettings
from ops.overview.settings import OverviewSettings
from ops.page.settings import PageSettings
from ops.settings import OpsSettings
from runtime.history import HistorySettings
from runtime.owners import OwnerSettings
from runtime.recovery import RecoverySettings
from runtime.settings import PREFIX, KafkaSettings, LogSettings, ProcessSettings, TargetSettings
from runtime.tracing import TracingSettings
from sinks.history.settings import HistorySinkSettings
from sinks.mail.settings import MailSinkSettings
from sinks.postgres.settings import PostgresSinkSettings
from sinks.redis.settings import RedisSinkSettings
from store.postgres.settings import PostgresSettings
from store.redis import RedisSettings
from streams.merge_settings import MergeSettings
from streams.settings import StreamsSettings
from topics.names import NameSettings, in_kafka
from topics.retention import RetentionSettings
from topics.settings import SchemaRegistrySettings, TopicSettings

PAGE: Final = Path(__file__).parent / "reference" / "settings.md"


class Section(NamedTuple):
    """A heading, the class whose own fields are listed under it, and what is said of all of them."""

    title: str
    settings: type[BaseSettings]
    intro: str = ""


SECTIONS: Final = (
    Section(
        "Kafka",
        KafkaSettings,
        "How they belong together, and what each process may do: [Secure Kafka](../how-to/secure-kafka.md).",
    ),
    Section("Names", NameSettings),
    Section("Topics", TopicSettings),
    Section("Topic commands", TopicCommandSettings),
    Section("Schema registry", SchemaRegistrySettings, "Of `cartstream topics register` only."),
    Section(
        "Redis",
        RedisSettings,
        "Valkey or Redis with an append-only file, `maxmemory-policy noeviction`: "
        "[one server, sentinels, or a cluster](../how-to/run-redis.md). Gateway and `sinks redis` end with 1 "
        "if the URL says one of them and the server is of another kind.",
    ),
    Section("Retention", RetentionSettings),
    Section("Postgres", PostgresSettings),
    Section("Owners", OwnerSettings),
    Section(
        "History",
        HistorySettings,
        "See [History](http-api.md#history). Give gateways and jobs the same values.",
    ),
    Section("Log", LogSettings, "See [the log](../how-to/monitor.md#the-log)."),
    Section(
        "Service discovery",
        TargetSettings,
        "See [Prometheus](../how-to/monitor.md#prometheus).",
    ),
    Section("Traces", TracingSettings),
    Section("Process", ProcessSettings),
    Section("Faust worker", DeliverySettings),
    Section("Compaction", StreamsSettings),
    Section("Merge agent", MergeSettings),
    Section("Postgres sink", PostgresSinkSettings),
    Section("History sink", HistorySinkSettings),
    Section("Redis sink", RedisSinkSettings),
    Section("Mail", MailSinkSettings),
    Section("Jobs", JobsSettings),
    Section("Recovery links", RecoverySettings),
    Section(
        "Identity", IdentitySettings, "How the gateway knows its callers: [how to](../how-to/secure.md)."
    ),
    Section("Live carts", LiveSettings, "See [Live carts](http-api.md#live-carts)."),
    Section(
        "Rate limits",
        RateSettings,
        "Quotas for each minute, of all gateways together; 0: there is none. See "
        "[Rate limits](http-api.md#rate-limits).",
    ),
    Section(
        "HTTP server",
        ServerSettings,
        "What clients may take of one gateway worker. See "
        "[Requests that are refused](http-api.md#requests-that-are-refused).",
    ),
    Section("Gateway", GatewaySettings),
    Section(
        "Overview",
        OverviewSettings,
        "Which processes the operations page and `cartstream top` know: "
        "[Operations page](../how-to/operations-page.md).",
    ),
    Section("Operations page", PageSettings),
    Section(
        "Embedded stack",
        StackSettings,
        "Files and folders of the stack are for the user who starts it alone (0600, 0700). The password of "
        "Postgres is in `postgres.password` in the\ndata folder, as libpq reads it. Commands without "
        "`CARTSTREAM_POSTGRES_URL` find it there; for other programs, or another port, it belongs into the\n"
        "address: `postgresql://cartstream@127.0.0.1:5432/cartstream?passfile=.local/postgres.password`.",
    ),
)

PROCESSES: Final[dict[tuple[str, ...], type[BaseSettings]]] = {
    ("gateway",): GatewaySettings,
    ("streams compaction",): StreamsSettings,
    ("streams merges",): MergeSettings,
    ("sinks postgres",): PostgresSinkSettings,
    ("sinks redis",): RedisSinkSettings,
    ("sinks mail",): MailSinkSettings,
    ("sinks history",): HistorySinkSettings,
    ("jobs",): JobsSettings,
    ("verify", "workers", "supervise", "erase", "dlq", "restore", "rebuild"): OpsSettings,
    ("top",): OverviewSettings,
    ("ops",): PageSettings,
    ("topics",): TopicCommandSettings,
    ("up", "mailbox serve"): StackSettings,
}
"""The class that commands read, by what follows `cartstream`."""

_HEAD: Final = """\
# Settings

<!-- Made by `make reference` from the settings classes: change the field, not this page. -->

Every setting is an environment variable `CARTSTREAM_<NAME>`. A wrong value stops the start; the message names
the variable and a right value. Processes log their settings at start, without what is secret of them: of web
addresses no value of the query is shown. Times are in seconds and sizes in bytes unless the name says
otherwise. An empty default means "not set". What is secret in part, such as an address with a password in it,
is shown without that part.

Instead of a variable you can name a file that holds its value: `CARTSTREAM_<NAME>_FILE`, such as
`CARTSTREAM_POSTGRES_URL_FILE=/run/secrets/postgres-url`. That goes for every setting, and is meant for
[secrets](../how-to/secure.md#secrets-in-files).
"""

_AFTER_PROCESSES: Final = """\
Give `CARTSTREAM_PARTITIONS`, `CARTSTREAM_CART_IDLE_LIMIT_S`, `CARTSTREAM_GUEST_IDLE_LIMIT_S` and
`CARTSTREAM_PURGE_AFTER_DAYS` the same value in every process: each refuses to start with values that do not
fit together. An idle limit can be shortened at any time. RT can be made longer at any time; before you make
it shorter, restart the gateways with the new value.
"""

_UNITS: Final = {
    "_bytes_per_s": "bytes per second",
    "_per_s": "per second",
    "_per_day": "per day",
    "_s": "seconds",
    "_seconds": "seconds",
    "_hours": "hours",
    "_days": "days",
    "_bytes": "bytes",
    "_port": "port",
    "_share": "share",
}
"""By the end of a name; the first that fits."""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## Processes\n", _processes(), _AFTER_PROCESSES]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        if section.intro:
            parts.append(f"{section.intro}\n")
        parts += [f"Read by {_readers(section.settings)}.\n", _fields(section.settings)]
    return "\n".join(parts)


def own_fields(settings: type[BaseSettings]) -> dict[str, FieldInfo]:
    """The fields that a class declares itself."""
    return {name: field for name, field in settings.model_fields.items() if name in settings.__annotations__}


def _processes() -> str:
    rows = [
        (_commands(names), ", ".join(_link(section) for section in SECTIONS if _reads(settings, section)))
        for names, settings in PROCESSES.items()
    ]
    return _table(("process", "sections it reads"), rows)


def _readers(settings: type[BaseSettings]) -> str:
    readers = [name for names, one in PROCESSES.items() if issubclass(one, settings) for name in names]
    return ", ".join(f"`{name}`" for name in readers)


def _commands(names: Sequence[str]) -> str:
    return ", ".join(f"`cartstream {name}`" for name in names)


def _reads(settings: type[BaseSettings], section: Section) -> bool:
    return issubclass(settings, section.settings)


def _link(section: Section) -> str:
    return f"[{section.title}](#{section.title.lower().replace(' ', '-')})"


def _fields(settings: type[BaseSettings]) -> str:
    rows = [
        (
            f"`{PREFIX}{name.upper()}`",
            kind(name, field),
            _code(default(field)),
            bounds(field),
            secret(field),
            field.description or "",
        )
        for name, field in own_fields(settings).items()
    ]
    return _table(("variable", "type", "default", "range", "secret", "meaning"), rows)


def kind(name: str, field: FieldInfo) -> str:
    """What a value is: its unit if it is a number."""
    of = _type(field)
    if of is bool:
        return "true or false"
    if of in (int, float):
        unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "number")
        return f"whole {unit}" if of is int and unit in {"seconds", "hours", "days"} else unit
    if of is Path:
        return "path"
    return "one of" if _choices(field) else "text"


def default(field: FieldInfo) -> str:
    """The default as one would set it, in a shop without a prefix; nothing for one that is not set."""
    value = field.default
    if value is None:
        return ""
    match value:
        case bool():
            return str(value).lower()
        case SecretStr():
            return value.get_secret_value()
        case float():
            return f"{value:g}" if value < 1_000_000 else f"{value:.0f}"  # noqa: PLR2004  no 1e+06
    return str(value).removeprefix(in_kafka(""))


def bounds(field: FieldInfo) -> str:
    """Which values are taken, as far as the field alone says."""
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    said = []
    for one in field.metadata:
        match one:
            case Ge(ge):
                said.append(f"at least {_number(ge)}")
            case Gt(gt):
                said.append(f"above {_number(gt)}")
            case Le(le):
                said.append(f"at most {_number(le)}")
            case Lt(lt):
                said.append(f"below {_number(lt)}")
            case MinLen(1):
                said.append("not empty")
            case MaxLen(most):
                said.append(f"at most {most} characters")
    return ", ".join(said)


def secret(field: FieldInfo) -> str:
    """Whether the value is nobody else's to know: yes, or a part of it."""
    if _type(field) is SecretStr:
        return "yes"
    extra = field.json_schema_extra
    return "in part" if isinstance(extra, dict) and extra.get("secret") else ""


def _type(field: FieldInfo) -> Any:
    """The type without None."""
    of = field.annotation
    if typing.get_origin(of) in (typing.Union, types.UnionType):
        (of,) = [one for one in typing.get_args(of) if one is not type(None)]
    return of


def _choices(field: FieldInfo) -> tuple[str, ...]:
    of = _type(field)
    if typing.get_origin(of) is Literal:
        return typing.get_args(of)
    return tuple(of) if isinstance(of, type) and issubclass(of, StrEnum) else ()


def _number(value: Any) -> str:
    return f"{value:.10g}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(head), "|---" * len(head) + "|", *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
