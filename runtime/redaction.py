"""Takes secrets out of a text that people read: logs, settings at the start, error messages, problem details.

One function for all of them, so that what is secret in one place is secret in every place.
"""

import re
from typing import Any, Final
from urllib.parse import unquote

HIDDEN: Final = "***"


def _in_any_spelling(text: str) -> str:
    """A pattern of the text, each character as it is or percent-encoded."""
    return "".join(f"(?:{re.escape(char)}|(?i:%{ord(char):02x}))" for char in text)


# Callers choose what is searched: each pattern looks at each character a bounded number of times.
_GUEST: Final = re.compile(_in_any_spelling("guest:") + r"[A-Za-z0-9._~%-]+")
_LINK: Final = re.compile(r"(/v1/(?:recover|unsubscribe)/)[^\s/?]+")
# Tokens of guests, tokens of links, JWTs: known by their form, wherever they stand.
_TOKEN: Final = re.compile(
    r"(?<![\w-])(?:[gru]\d\.[\w-]{8,}\.\d+\.[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)", re.ASCII
)
_USER_AND_PASSWORD: Final = re.compile(r"""(://[^/?#\s:@"']*):[^/?#\s"']*@""")
_USER_ALONE: Final = re.compile(r"""(https?://)[^/?#\s:@"']+@""")
_NAMED: Final = re.compile(
    r"""([?&]?)(?<![\w.%-])([\w.%-]+)(\s?=\s?)"""
    r"""('(?:[^'\\]|\\.){0,256}'|"[^"]{0,256}"|[^\s&#;,"')\]}]+)"""
)
_QUERY_VALUE: Final = re.compile(r"""([?&][^=&#\s"']+=)[^&#\s"']+""")
_SECRET_NAME: Final = re.compile(
    r"(?:\w+[.-])*\w*(?:password|passwd|passphrase|pwd|secret|token|ticket|signature|credentials?|session|"
    r"(?:api|access|private|signing|session|token|jwt)[_-]?keys?)",
    re.IGNORECASE,
)
# Of a record or a dictionary these say something; in a query they are what callers prove themselves with.
_SECRET_IN_QUERY: Final = frozenset({"auth", "code", "key", "pass", "sig"})


def redacted(text: str) -> str:
    """The text with `***` in the place of each secret.

    Secret are: the ids of guest carts, which name a person's cart, in any spelling of a path; links, tokens,
    tickets; passwords in URLs, and the values of names such as `password` or `token`.
    """
    if "=" in text:
        text = _NAMED.sub(_without_value, text)
    return _without_forms(text)


def redacted_address(url: str) -> str:
    """A URL as a setting shows it: of a web address no value of the query, whatever its name."""
    shown = redacted(url)
    return _QUERY_VALUE.sub(rf"\1{HIDDEN}", shown) if shown.startswith(("http://", "https://")) else shown


def redacted_value(value: Any) -> Any:
    """A value of a log event without secrets; what is neither a number nor a container becomes its text."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redacted(value)
        case dict():
            return {name: redacted_value(member) for name, member in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redacted_value(member) for member in value]
    return redacted(repr(value))


def _without_forms(text: str) -> str:
    """Without what is known by its form."""
    if "://" in text:
        text = _USER_AND_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        text = _USER_ALONE.sub(rf"\1{HIDDEN}@", text)
    if "/v1/" in text:
        text = _LINK.sub(rf"\1{HIDDEN}", text)
    return _GUEST.sub(f"guest:{HIDDEN}", _TOKEN.sub(HIDDEN, text))


def _without_value(found: re.Match[str]) -> str:
    begin, name, equals, value = found.groups()
    plain = unquote(name)
    if _SECRET_NAME.fullmatch(plain) or (begin and plain.lower() in _SECRET_IN_QUERY):
        return f"{begin}{name}{equals}{HIDDEN}"
    if value[0] in "'\"" and len(value) > 1:
        return f"{begin}{name}{equals}{value[0]}{_NAMED.sub(_without_value, value[1:-1])}{value[-1]}"
    if "%" in value and _has_secret(unquote(value)):  # a URL within a URL
        return f"{begin}{name}{equals}{HIDDEN}"
    return found[0]


def _has_secret(text: str) -> bool:
    """Whether a text that stood in another one, encoded, has a secret. What is encoded in it again stays."""
    return _without_forms(text) != text or any(
        _SECRET_NAME.fullmatch(name) or (begin and name.lower() in _SECRET_IN_QUERY)
        for begin, name, *_ in _NAMED.findall(text)
    )
