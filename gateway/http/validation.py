"""Strict decoding of JSON bodies: what breaks the schema becomes a problem that points at the place."""

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec

from carts.limits import MAX_SAFE_INTEGER
from carts.numbers import ADVICE, keeps_its_size, without_negative_zeros
from gateway.http.grammars import FREE_FORM
from gateway.http.problems import INVALID_BODY, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, FieldError, Problem

T = TypeVar("T")

FreeForm = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description=f"Any JSON object of up to 16 KiB, carried unread. Send {ADVICE}.",
        extra_json_schema=FREE_FORM,
    ),
]

MAX_DEPTH: Final = 32
"""Levels of nesting of metadata: far below what any reader of the records refuses."""

_MEMBERS: Final = 16
"""Options of a line."""

_PLACE: Final = re.compile(r" - at (?:`key` in )?`(?:key(?: in)? )?(\$[^`]*)`$")
_OF_A_KEY: Final = re.compile(r" - at `key`? in ")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.+)`", re.DOTALL)
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_GOT_FRACTION: Final = ", got `float`"
# Postgres refuses U+0000 in jsonb, long after the change was acknowledged.
_NUL_ESCAPE: Final = b"\\u0000"


def check_media_type(value: str | None) -> None:
    """Accept `application/json` and `application/*+json`, any parameters; raise Problem otherwise."""
    if value == "application/json":
        return
    essence = (value or "").partition(";")[0].strip().lower()
    if essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json")):
        return
    raise Problem(
        UNSUPPORTED_MEDIA_TYPE,
        f"The body came as {essence[:80] or 'no media type at all'}; send JSON as application/json.",
        headers={"accept": "application/json"},
    )


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """The Struct in `body`. Raises Problem: malformed-json (400) or invalid-body (422) with pointers."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        if _GOT_FRACTION in str(error) and (whole := _with_whole_numbers(body)) not in {None, body}:
            return decode(decoder, whole)
        pointer, detail = explain(str(error), _unnamed_key(decoder, body, str(error)))
        raise Problem(
            INVALID_BODY, f"{pointer or 'the body'}: {detail}", errors=[FieldError(pointer, detail)]
        ) from error
    except RecursionError as error:
        raise Problem(
            INVALID_BODY,
            f"The body nests deeper than {MAX_DEPTH} levels; flatten it.",
            errors=[FieldError("", "too deep")],
        ) from error
    except UnicodeDecodeError as error:
        raise Problem(MALFORMED_JSON, "The body is not UTF-8; encode it as UTF-8 (RFC 8259, 8.1).") from error
    except ValueError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if not body:
            raise Problem(
                MALFORMED_JSON, "The body is empty; send a JSON object, see /openapi.json."
            ) from error
        raise Problem(MALFORMED_JSON, f"The body is not valid JSON: {reason}; send a JSON object.") from error
    if _NUL_ESCAPE in body:
        _refuse_nul(msgspec.to_builtins(value), "")
    return value


def _with_whole_numbers(body: bytes) -> bytes | None:
    """The JSON with 2.0 and 2e0 as 2: for JSON Schema they are integers. None if it is no JSON."""
    try:
        return msgspec.json.encode(_whole(msgspec.json.decode(body)))
    except (ValueError, RecursionError):
        return None


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
            return int(value)
        case dict():
            return {key: _whole(member) for key, member in value.items()}
        case list():
            return [_whole(member) for member in value]
    return value


def storable_metadata(value: dict[str, Any], pointer: str, bound: int) -> dict[str, Any]:
    """Metadata as every store keeps it.

    Raises Problem for what is too deep, larger than `bound` bytes of JSON, or would grow in a store.
    """
    if _deeper_than(value, MAX_DEPTH):
        detail = f"must not nest deeper than {MAX_DEPTH} levels; flatten it"
        raise Problem(INVALID_BODY, f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])
    if not keeps_its_size(value):
        raise invalid(pointer, f"contains a number that no store keeps as it is; send {ADVICE}")
    size = len(msgspec.json.encode(value))
    if size > bound:
        detail = f"takes {size} bytes of JSON, at most {bound} are possible; keep large values elsewhere"
        raise Problem(INVALID_BODY, f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])
    kept: dict[str, Any] = without_negative_zeros(value)
    return kept


def invalid(pointer: str, detail: str) -> Problem:
    """The problem of one field that the schema cannot express."""
    return Problem(INVALID_BODY, f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])


def _unnamed_key(decoder: "msgspec.json.Decoder[Any]", body: bytes, message: str) -> str | None:
    """The key of the member of a free-form object that the message is about: msgspec does not name it.

    Of a value it writes `[...]`, of a key itself only the object that has it. Each member is tried alone, as
    many as an object of the API may have.
    """
    place = _PLACE.search(message)
    if place is None or not ("[...]" in place[1] or _OF_A_KEY.search(message)):
        return None
    document = msgspec.json.decode(body)
    container = document
    for name, index in _STEP.findall(place[1].partition("[...]")[0]):
        container = container[int(index) if index else name]
    members = list(container.items())[:_MEMBERS]
    for key, value in members:
        container.clear()
        container[key] = value
        try:
            decoder.decode(msgspec.json.encode(document))
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return None


def explain(message: str, key: str | None = None) -> tuple[str, str]:
    """Turn a msgspec message into a JSON Pointer and a sentence that says what to do.

    `key` is the name of the member that the message leaves open (see `_unnamed_key`), if it is known.

    >>> explain("Expected `int`, got `str` - at `$.operations[3].quantity`")
    ('/operations/3/quantity', 'expected an integer, got a string; send an integer')
    """
    place = _PLACE.search(message)
    reason = message[: place.start()] if place else message
    pointer = ""
    if place is not None:
        steps = _steps(place[1], key)
        if key is not None and _OF_A_KEY.search(message):
            steps.append(key)
        pointer = "".join(f"/{escape(step)}" for step in steps)
    if found := _MISSING.search(reason):
        return f"{pointer}/{escape(found[1])}", "is required; add it"
    if found := _UNKNOWN.fullmatch(reason):
        return (
            f"{pointer}/{escape(found[1])}",
            "is not a known field; remove it, /openapi.json lists the known ones",
        )
    if found := _EXPECTED.fullmatch(reason):
        wanted = " or ".join(_NAMES.get(name.strip(), name.strip()) for name in found[1].split("|"))
        return pointer, f"expected {wanted}, got {_NAMES.get(found[2], found[2])}; send {wanted}"
    return (
        pointer,
        f"{reason[:1].lower()}{reason[1:].replace('`', '')}; change it, /openapi.json has the bounds",
    )


def _steps(place: str, key: str | None) -> list[str]:
    names = (name or index or key for name, index in _STEP.findall(place))
    return [name for name in names if name is not None]


_NAMES: Final = {
    "int": "an integer",
    "float": "a fraction",
    "str": "a string",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def escape(name: str) -> str:
    """A name as it stands in a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _refuse_nul(value: Any, pointer: str) -> None:
    match value:
        case str():
            if "\0" in value:
                raise invalid(pointer, "contains the character U+0000, which cannot be stored; remove it")
        case dict():
            for key, member in value.items():
                _refuse_nul(key, f"{pointer}/{escape(key)}")
                _refuse_nul(member, f"{pointer}/{escape(key)}")
        case list():
            for index, member in enumerate(value):
                _refuse_nul(member, f"{pointer}/{index}")


def _deeper_than(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(
        _deeper_than(member, levels - 1) for member in (value.values() if isinstance(value, dict) else value)
    )
