"""Which lines of a component's log a person at the terminal wants to see: what has gone wrong. Pure."""

import re
from typing import Any, Final

import msgspec

_LEVELS: Final = frozenset({"warning", "error", "critical"})
_SERVERS: Final = re.compile(r"\b(ERROR|FATAL|PANIC)\b|^Traceback|^Error\b|oO0OoO0OoO0Oo")
"""How Postgres, Kafka and Redis begin what has gone wrong; their warnings are for their operators."""
_NOISE: Final = frozenset(
    {"time", "level", "logger", "message", "process", "process_id", "exception", "stack"}
)
_MOST_CHARACTERS: Final = 300


def trouble_in(line: str) -> str | None:
    """The line in short if it tells of trouble; None for one that belongs into the log only.

    Processes write JSON (runtime.logs): the message stands first, then what it says, then an error's end.
    """
    try:
        entry = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return _cut(line) if _SERVERS.search(line) else None
    if not isinstance(entry, dict) or entry.get("level") not in _LEVELS:
        return None
    return _cut(_told(entry))


def _told(entry: dict[str, Any]) -> str:
    words = [str(entry.get("message", ""))]
    words += [f"{name}={value}" for name, value in entry.items() if name not in _NOISE]
    if exception := str(entry.get("exception", "")).strip():
        words.append(f"({exception.splitlines()[-1]})")
    return " ".join(words)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
