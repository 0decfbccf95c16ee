"""The components of the stack, in one table: what starts, after what, and how one knows that it works."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from devstack.errors import StackError
from devstack.files import targets_folder
from devstack.kafka import kafka_component
from devstack.postgres import postgres_component
from devstack.readiness import file_touched, http_answers, never
from devstack.settings import HOST, KAFKA, MAILBOX, OPS, POSTGRES, REDIS, StackSettings
from devstack.spec import NO_ADDRESS, Build, ComponentSpec, Kind, Port
from devstack.valkey import redis_component

CARTSTREAM = (sys.executable, "-m", "cli")
HISTORY = "sink-history"


def _task(name: str, *args: str, depends: tuple[str, ...]) -> Build:
    """A command that runs to its end before what depends on it starts."""

    def build(settings: StackSettings) -> ComponentSpec:
        return ComponentSpec(
            name=name,
            kind=Kind.TASK,
            argv=(*CARTSTREAM, *args),
            address=NO_ADDRESS,
            ready=never,
            depends=depends,
            env=_environment(settings),
        )

    return build


def _worker(name: str, *args: str, depends: tuple[str, ...]) -> Build:
    """A worker: it touches its readiness file once it has its partitions, tables or jobs."""

    def build(settings: StackSettings) -> ComponentSpec:
        data = settings.data_dir.resolve()
        ready_file = data / "run" / f"{name}.ready"
        return ComponentSpec(
            name=name,
            kind=Kind.PROCESS,
            argv=(*CARTSTREAM, *args),
            address=NO_ADDRESS,
            ready=partial(file_touched, ready_file),
            depends=depends,
            env={
                **_environment(settings),
                "CARTSTREAM_DATADIR": str(data / "faust" / name),
                # A static member is back in a second after a kill, instead of after the session's timeout.
                "CARTSTREAM_GROUP_INSTANCE_ID": f"{name}-0",
            },
            ready_file=ready_file,
            stop_seconds=25.0,
        )

    return build


def _gateway(settings: StackSettings) -> ComponentSpec:
    return ComponentSpec(
        name="gateway",
        kind=Kind.PROCESS,
        argv=(*CARTSTREAM, "gateway"),
        address=settings.urls.gateway,
        ready=partial(http_answers, f"{settings.urls.gateway}/health/ready"),
        depends=(REDIS, "topics", "migrate"),
        env={
            **_environment(settings),
            "CARTSTREAM_GATEWAY_HOST": HOST,
            "CARTSTREAM_GATEWAY_PORT": str(settings.gateway_port),
            "CARTSTREAM_MAILBOX_URL": settings.urls.mailbox,
            "CARTSTREAM_OPS_URL": settings.urls.ops,
        },
        ports=(Port(settings.gateway_port, "CARTSTREAM_GATEWAY_PORT"),),
        stop_seconds=30.0,
    )


def _mailbox(settings: StackSettings) -> ComponentSpec:
    return ComponentSpec(
        name=MAILBOX,
        kind=Kind.PROCESS,
        argv=(*CARTSTREAM, "mailbox", "serve"),
        address=settings.urls.mailbox,
        ready=partial(http_answers, f"{settings.urls.mailbox}/health"),
        env={
            **_environment(settings),
            "CARTSTREAM_DATA_DIR": str(settings.data_dir.resolve()),
            "CARTSTREAM_MAILBOX_HOST": HOST,
            "CARTSTREAM_MAILBOX_PORT": str(settings.mailbox_port),
            "CARTSTREAM_MAILBOX_SMTP_PORT": str(settings.mailbox_smtp_port),
        },
        ports=(
            Port(settings.mailbox_port, "CARTSTREAM_MAILBOX_PORT"),
            Port(settings.mailbox_smtp_port, "CARTSTREAM_MAILBOX_SMTP_PORT"),
        ),
    )


def _compaction(settings: StackSettings) -> ComponentSpec:
    worker = _worker("compaction", "streams", "compaction", depends=("topics",))(settings)
    if settings.compaction_workers == 1:
        return worker
    several = {
        "CARTSTREAM_WORKERS": str(settings.compaction_workers),
        "CARTSTREAM_GROUP_INSTANCE_ID": "compaction",  # each worker appends its number
    }
    return replace(worker, env={**worker.env, **several})


def _mail(settings: StackSettings) -> ComponentSpec:
    """The mail agent; every mail of a stack for development stays in its mailbox."""
    worker = _worker("sink-mail", "sinks", "mail", depends=("topics", "migrate"))(settings)
    smtp = {
        "CARTSTREAM_SMTP_HOST": HOST,
        "CARTSTREAM_SMTP_PORT": str(settings.mailbox_smtp_port),
        "CARTSTREAM_SMTP_TLS": "none",
    }
    return replace(worker, env={**worker.env, **smtp})


def _ops(settings: StackSettings) -> ComponentSpec:
    """The operations page; it finds the processes where they say where their metrics are."""
    worker = _worker(OPS, "ops", depends=("topics", "migrate", REDIS))(settings)
    known = {
        "CARTSTREAM_OPS_HOST": HOST,
        "CARTSTREAM_OPS_PORT": str(settings.ops_port),
    }
    return replace(
        worker,
        address=settings.urls.ops,
        env={**worker.env, **known},
        ports=(Port(settings.ops_port, "CARTSTREAM_OPS_PORT"),),
    )


def _environment(settings: StackSettings) -> dict[str, str]:
    return {
        **settings.urls.environment(),
        "CARTSTREAM_METRICS_TARGETS": str(targets_folder(settings.data_dir.resolve())),
        "CARTSTREAM_PRODUCTS_OWNER": settings.products_owner.value,
        "CARTSTREAM_ORDERS_OWNER": settings.orders_owner.value,
        "CARTSTREAM_HISTORY": str(settings.history).lower(),
        "CARTSTREAM_HISTORY_DAYS": str(settings.history_days),
        # By which the terminal shows what has gone wrong (devstack/trouble.py).
        "CARTSTREAM_LOG_FORMAT": "json",
        # Lines should be in the log when they are printed, above all the last one.
        "PYTHONUNBUFFERED": "1",
    }


SERVERS: dict[str, Build] = {
    REDIS: redis_component,
    POSTGRES: postgres_component,
    KAFKA: kafka_component,
}

# In an order in which each comes after those it depends on.
COMPONENTS: dict[str, Build] = {
    **SERVERS,
    "topics": _task("topics", "topics", "apply", "--allow-single", depends=(KAFKA,)),
    "migrate": _task("migrate", "migrate", depends=(POSTGRES,)),
    "sample-products": _task("sample-products", "products", "sample", depends=("migrate",)),
    "gateway": _gateway,
    "compaction": _compaction,
    "merges": _worker("merges", "streams", "merges", depends=("topics", "migrate", REDIS)),
    "sink-postgres": _worker("sink-postgres", "sinks", "postgres", depends=("topics", "migrate")),
    "sink-redis": _worker("sink-redis", "sinks", "redis", depends=("topics", REDIS)),
    "jobs": _worker("jobs", "jobs", depends=("topics", "migrate", REDIS)),
    "sink-mail": _mail,
    HISTORY: _worker(HISTORY, "sinks", "history", depends=("topics", "migrate")),
    MAILBOX: _mailbox,
    OPS: _ops,
}


def usual(settings: StackSettings) -> list[str]:
    """The components that start when nobody names any: not what a setting switches off."""
    return [name for name in COMPONENTS if settings.history or name != HISTORY]


def specs(settings: StackSettings, names: Iterable[str]) -> list[ComponentSpec]:
    """The named components in the table's order, each depending only on others of them.

    Raises StackError for a name that is not in the table.
    """
    wanted = set(names)
    if unknown := sorted(wanted - COMPONENTS.keys()):
        raise StackError(f"no such component: {', '.join(unknown)}. There are: {', '.join(COMPONENTS)}")
    built = [build(settings) for name, build in COMPONENTS.items() if name in wanted]
    return [replace(spec, depends=tuple(name for name in spec.depends if name in wanted)) for spec in built]
