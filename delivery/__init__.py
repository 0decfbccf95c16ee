"""Faust that loses nothing: the layer every Faust app of this project is made with.

A table writer (compaction):

    app = create_app("streams", settings)
    carts = app.changelog_table("carts", keep=higher_version, headers_of=state_headers)

    @app.agent(app.source("cart-changed"))
    async def compact(stream):
        async for event in events(stream, partition_of):
            state = fold(carts.lookup(event, event.key), event.value)
            if state is not unchanged:
                await carts.emit(event, event.key, encode(state), state_headers(event.key, state))

A sink:

    @app.agent(app.source("carts"))
    async def write(stream):
        await run_batches(stream, upsert, partition_of=partition_of, is_data_error=is_data_error)

    run_worker(app)     # exit 0 after SIGTERM, 75 when only a restart helps

What a body may rely on: records of a partition arrive in order, none is left out, and a record counts as
processed only when the body is done with it and its changelog records are acknowledged. After a crash the
last ones come again: bodies are idempotent.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from delivery.app import DeliveryApp, create_app
    from delivery.consumption import events, run_batches
    from delivery.dead_letters import Source
    from delivery.ending import to_its_end
    from delivery.errors import EXIT_RESTART, DeliveryError, fail_stop
    from delivery.process import run_process
    from delivery.settings import DeliverySettings, ProcessSettings
    from delivery.table import ChangelogTable, Headers
    from delivery.worker import run_worker

_HOMES: Final = {
    "EXIT_RESTART": "errors",
    "ChangelogTable": "table",
    "DeliveryApp": "app",
    "DeliveryError": "errors",
    "DeliverySettings": "settings",
    "Headers": "table",
    "ProcessSettings": "settings",
    "Source": "dead_letters",
    "create_app": "app",
    "events": "consumption",
    "fail_stop": "errors",
    "run_batches": "consumption",
    "run_process": "process",
    "run_worker": "worker",
    "to_its_end": "ending",
}

__all__ = [
    "EXIT_RESTART",
    "ChangelogTable",
    "DeliveryApp",
    "DeliveryError",
    "DeliverySettings",
    "Headers",
    "ProcessSettings",
    "Source",
    "create_app",
    "events",
    "fail_stop",
    "run_batches",
    "run_process",
    "run_worker",
    "to_its_end",
]


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: processes without Faust start without its libraries."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
