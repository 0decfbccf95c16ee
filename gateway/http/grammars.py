"""The grammars of identifiers and headers as JSON Schema writes them, for the OpenAPI document."""

import re
from typing import Any, Final

from carts.ids import GRAMMARS
from carts.numbers import BEYOND, LEAST
from carts.texts import PRINTABLE

_WIDE: Final = re.compile(r"\\U([0-9a-f]{8})")
_SURROGATES: Final = r"\ud800-\udfff"
"""No JSON text has one by itself, and not every implementation of patterns takes them."""

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_BETWEEN: Final = r"[ \t]*,[ \t,]*"


def anchored(pattern: str) -> str:
    """A regular expression of Python as ECMA-262 has it, for the whole text."""
    portable = _WIDE.sub(lambda found: chr(int(found[1], 16)), pattern)
    portable = portable.replace(_SURROGATES, "").replace(r"\Z", "$").replace(r"\"", '"')
    return f"^(?:{portable})$"


def text(pattern: str, **further: Any) -> dict[str, Any]:
    """The schema of a text that matches an ECMA-262 pattern."""
    return {"type": "string", "pattern": pattern, **further}


def identifier(name: str) -> dict[str, Any]:
    """The schema of an identifier of `carts/ids.py`."""
    return text(anchored(GRAMMARS[name]))


def printable(*, least: int = 0) -> dict[str, Any]:
    """What to add to the schema of a text that stays in its line, of `least` characters."""
    return {"pattern": anchored(PRINTABLE)} | ({"minLength": least} if least else {})


STORABLE: Final = {"pattern": r"^[^\x00]*$"}
"""What to add to the schema of a text that Postgres keeps."""
JSON_VALUE: Final = "JsonValue"
"""The name of the component below."""
_REFERENCE: Final = {"$ref": f"#/components/schemas/{JSON_VALUE}"}
JSON_VALUE_SCHEMA: Final[dict[str, Any]] = {
    "title": JSON_VALUE,
    "description": "Any JSON whose numbers every store keeps as they are.",
    "anyOf": [
        {"type": ["null", "boolean", "integer"]},
        {"type": "number", "minimum": LEAST, "exclusiveMaximum": BEYOND},
        {"type": "number", "maximum": -LEAST, "exclusiveMinimum": -BEYOND},
        {"type": "string", **STORABLE},
        {"type": "array", "items": _REFERENCE},
        {"type": "object", "propertyNames": STORABLE, "additionalProperties": _REFERENCE},
    ],
}
FREE_FORM: Final = {"propertyNames": STORABLE, "additionalProperties": _REFERENCE}
"""What to add to the schema of a free-form object."""

IDEMPOTENCY_KEY: Final = text(
    anchored(rf'(?!"(?:!.*|{GRAMMARS["order_id"]})?"$)(?:{GRAMMARS["op_id"]})'),
)
"""A key may stand in quotes; then what is between them is the key."""
CART_ID_IN_PATH: Final = text(anchored(f"me|{GRAMMARS['cart_id']}"))
"""`me` stands for the caller's own."""
GUEST_OR_TOKEN: Final = text(anchored(rf"{GRAMMARS['guest_id']}|g[12]\..*"))
"""A guest's cart by its id, or by the token that proves it."""
ENTITY_TAGS: Final = text(rf"^[ \t,]*(?:\*|{_TAG}(?:{_BETWEEN}{_TAG})*)[ \t,]*$")
"""What If-Match and If-None-Match say (RFC 9110, 13.1)."""
