"""The Lua scripts, one verb each. A line `--@include name` in them stands for `_name.lua`."""

import hashlib
import re
from importlib.resources import files
from typing import Final

import msgspec

_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)


class Script(msgspec.Struct, frozen=True):
    """A script: its name, its text, and the SHA-1 by which EVALSHA calls it."""

    name: str
    source: bytes
    sha: bytes


def _read(name: str, *, when_full: bool = False) -> Script:
    """`when_full`: the same script, which Redis also runs when it has no memory left."""
    folder = files(__name__)
    text = _INCLUDE.sub(
        lambda match: (folder / f"_{match[1]}.lua").read_text("utf-8"),
        (folder / f"{name}.lua").read_text("utf-8"),
    )
    if when_full:
        text = text.replace("#!lua\n", "#!lua flags=allow-oom\n", 1)
    source = text.encode()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


CHANGE: Final = _read("change")
CHANGE_WHEN_FULL: Final = _read("change", when_full=True)
HYDRATE: Final = _read("hydrate")
HYDRATE_WHEN_FULL: Final = _read("hydrate", when_full=True)
PUT: Final = _read("put")
PUT_WHEN_FULL: Final = _read("put", when_full=True)
OUTBOX_REMOVE: Final = _read("outbox_remove")
DROP_EXPIRED: Final = _read("drop_expired")
FORGET_MARKER: Final = _read("forget_marker")
CLOSE_PARTITION: Final = _read("close_partition")
RESTORE_BEGIN: Final = _read("restore_begin")
RESTORE_FROM: Final = _read("restore_from")
WARMED: Final = _read("warmed")
RESTORE_FINISH: Final = _read("restore_finish")
LEASE: Final = _read("lease")
SKIP_PENDING: Final = _read("skip_pending")
READ_WITH_WINDOW: Final = _read("read_with_window")
SUBTRACT: Final = _read("subtract")
CHECKOUT_LOCK: Final = _read("checkout_lock")
RELEASE: Final = _read("release")
CATALOGUE_FOLLOW: Final = _read("catalogue_follow")
CATALOGUE_PUT: Final = _read("catalogue_put")
RATE: Final = _read("rate")
CATALOGUE_PUT_WHEN_FULL: Final = _read("catalogue_put", when_full=True)

ALL: Final = (
    CHANGE,
    CHANGE_WHEN_FULL,
    HYDRATE,
    HYDRATE_WHEN_FULL,
    PUT,
    PUT_WHEN_FULL,
    OUTBOX_REMOVE,
    DROP_EXPIRED,
    FORGET_MARKER,
    CLOSE_PARTITION,
    RESTORE_BEGIN,
    RESTORE_FROM,
    WARMED,
    RESTORE_FINISH,
    LEASE,
    SKIP_PENDING,
    READ_WITH_WINDOW,
    SUBTRACT,
    CHECKOUT_LOCK,
    RELEASE,
    CATALOGUE_FOLLOW,
    CATALOGUE_PUT,
    RATE,
    CATALOGUE_PUT_WHEN_FULL,
)
