"""Headers that say how a request is meant: If-Match, If-None-Match, Prefer, Idempotency-Key. Pure parsing."""

import re
from typing import Final

import msgspec

from carts.errors import InvalidIdentifier
from carts.ids import check_op_id
from carts.protocol import Durability
from gateway.http.problems import INVALID_HEADER, Problem

_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR: Final = re.compile(r"[ \t]*,[ \t,]*")
_UUID7: Final = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_CHARACTER: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_PREFERENCE: Final = re.compile(
    rf"""[ \t]*({_CHARACTER}+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_CHARACTER}*)))?[^,]*(?:,|$)"""
)

ANY: Final = "*"


class Preferences(msgspec.Struct, frozen=True):
    """What `Prefer` (RFC 7240) asks for."""

    durability: Durability = Durability.KAFKA
    strict: bool = False
    minimal: bool = False


DEFAULT_PREFERENCES: Final = Preferences()


class EntityTags(msgspec.Struct, frozen=True):
    """The parsed value of If-Match or If-None-Match: opaque tags.

    `*` stands among the strong ones if `is_any`. A quoted `"*"` is a tag like others, and nothing has it.
    """

    strong: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    is_any: bool = False


def parse_entity_tags(name: str, value: str) -> EntityTags:
    """Parse a list of entity tags or `*` (RFC 9110, 13.1). Raises Problem on anything else."""
    text = value.strip(" \t,")
    if text == ANY:
        return EntityTags((ANY,), is_any=True)
    strong: list[str] = []
    weak: list[str] = []
    position = 0
    while (found := _ENTITY_TAG.match(text, position)) is not None:
        (weak if found[1] else strong).append(found[2])
        position = found.end()
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            break
        position = separator.end()
    if not text or position != len(text):
        raise Problem(
            INVALID_HEADER,
            f'{name} must be "*" or a list of quoted entity tags; '
            "send back the ETag of the cart as it came, with its quotes.",
        )
    return EntityTags(tuple(strong), tuple(weak))


def is_not_modified(value: str, tag: str, never_written: str) -> bool:
    """Whether If-None-Match asks for 304: compared weakly; `*` is any cart written (RFC 9110, 13.1.2)."""
    tags = parse_entity_tags("If-None-Match", value)
    if tags.is_any:
        return tag != never_written
    return tag in tags.strong or tag in tags.weak


def parse_if_match(value: str | None) -> tuple[str, ...] | None:
    """The versions that satisfy If-Match, `*` alone for any; None without the header.

    Strong comparison: weak tags never satisfy it, and a list of them is an empty tuple (RFC 9110, 13.1.1).
    A tag's suffix, after a dot, tells how a version was priced: to whoever writes, the version alone counts.
    """
    if value is None:
        return None
    tags = parse_entity_tags("If-Match", value)
    if tags.is_any:
        return (ANY,)
    return tuple(version for tag in tags.strong if (version := tag.partition(".")[0]) != ANY)


def parse_if_none_match(value: str | None) -> tuple[str, ...] | None:
    """The versions that a change must not find, `*` alone for any; None without the header.

    Compared weakly (RFC 9110, 13.1.2), and as in `parse_if_match` by the version alone.
    """
    if value is None:
        return None
    tags = parse_entity_tags("If-None-Match", value)
    if tags.is_any:
        return (ANY,)
    found = (tag.partition(".")[0] for tag in (*tags.strong, *tags.weak))
    return tuple(version for version in found if version != ANY)


class Preconditions(msgspec.Struct, frozen=True):
    """What If-Match and If-None-Match make of a change: the versions it needs, and those it must not find.

    Both as `parse_if_match` has them; None: no such condition.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    def hold(self, version: str | None) -> bool:
        """Whether what is to be changed may be changed at this version; None: there is nothing yet."""
        if self.if_match is not None and not _names(self.if_match, version):
            return False
        return self.if_none_match is None or not _names(self.if_none_match, version)


NO_PRECONDITIONS: Final = Preconditions()


def _names(versions: tuple[str, ...], version: str | None) -> bool:
    return version is not None and (versions == (ANY,) or version in versions)


def parse_prefer(value: str | None) -> Preferences:
    """What `Prefer` asks for. Unknown preferences are ignored, the first of a name counts (RFC 7240)."""
    if not value:
        return DEFAULT_PREFERENCES
    found: dict[str, str] = {}
    # `;` begins parameters in RFC 7240, but `durability=kafka; handling=strict` is what people write.
    for match in _PREFERENCE.finditer(value.replace(";", ",")):
        quoted, token = match[2], match[3]
        found.setdefault(match[1].lower(), (quoted if quoted is not None else token or "").lower())
    durability = found.get("durability", Durability.KAFKA)
    if durability not in set(Durability):
        raise Problem(
            INVALID_HEADER,
            f"Prefer: durability={durability[:40]} is not known; use redis, kafka or postgres.",
        )
    return Preferences(
        durability=Durability(durability),
        strict=found.get("handling") == "strict",
        minimal=found.get("return") == "minimal",
    )


def parse_idempotency_key(value: str) -> str:
    """The operation id that the client chose. Raises Problem if it is not one.

    The header is a quoted string in the IETF draft and a bare token in most of the world: both mean the same.
    """
    key = value.strip()
    quoted = _QUOTED.fullmatch(key)
    if quoted is not None:
        key = quoted[1]
    try:
        return check_op_id(key)
    except InvalidIdentifier as error:
        raise Problem(INVALID_HEADER, f"Idempotency-Key is not valid: {error.advice}.") from error


def first_attempt_us(op_id: str) -> int | None:
    """Microseconds of the first attempt if the key is a UUIDv7: it starts with them (RFC 9562)."""
    found = _UUID7.fullmatch(op_id)
    return int(found[1] + found[2], 16) * 1000 if found else None
