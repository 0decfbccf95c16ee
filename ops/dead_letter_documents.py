"""Dead letters as documents, for people: on the command line and on the operations page. Pure."""

from typing import Any, Final

import msgspec

from ops.dead_letter_topic import Listed

SHOWN_BYTES: Final = 4096
"""Of a value that is not JSON."""


def summary(listed: Listed) -> dict[str, Any]:
    """What a list says of a dead letter."""
    letter, mark = listed.letter, listed.mark
    return {
        "id": str(letter.id),
        "code": letter.code,
        "detail": letter.detail,
        "source": letter.source,
        "key": letter.key_text,
        "bytes": letter.size,
        "time": letter.time,
        "agent": letter.agent,
        "handled": "" if mark is None else f"{mark.handled} at {mark.time}: {mark.detail}",
    }


def whole(listed: Listed) -> dict[str, Any]:
    """All of a dead letter, with its headers and its value."""
    return {
        **summary(listed),
        "headers": {name: text.decode(errors="backslashreplace") for name, text in listed.letter.headers},
        "value": _readable(listed.letter.value),
    }


def _readable(value: bytes | None) -> Any:
    """The value as JSON if it is that, else its beginning with what is no text escaped."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        cut = f" ... ({len(value)} bytes)" if len(value) > SHOWN_BYTES else ""
        return value[:SHOWN_BYTES].decode(errors="backslashreplace") + cut
