"""The AsyncAPI 3.0 description of the topics: `python -m topics.asyncapi` renews its file in the docs.

Made of the table of topics, of the Structs of the records and of the example records. A record's headers are
described as its examples have them: what all examples have is required.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import msgspec

from topics.headers import (
    CART_N,
    CART_V,
    CART_VERSION,
    ORDER_VERSION,
    PRODUCT_VERSION,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    TRACEPARENT,
)
from topics.published import Example, newest_examples, record_specs
from topics.registry import PARTITIONS, TOPICS, Part, RecordSpec, TopicSpec, partitions_of
from topics.strimzi import bare

FILE: Final = Path("docs") / "reference" / "asyncapi.json"

_BINDING: Final = "0.5.0"
_SCHEMAS: Final = "#/components/schemas/"
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]+$"}
_TEXT: Final = {"type": "string"}
_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "ce_specversion": {"const": "1.0", "description": "CloudEvents, binary mode"},
    "ce_source": _TEXT | {"description": "which process made the record"},
    "ce_type": _TEXT | {"description": "what happened"},
    "content-type": {"const": "application/json", "description": "of the value"},
    "ce_dataschema": _TEXT | {"description": "the id of the value's schema; see `/schemas` of the gateway"},
    "ce_id": _TEXT | {"description": "the same whenever the record is published again"},
    "ce_subject": _TEXT | {"description": "the record's key"},
    "ce_time": _TEXT | {"format": "date-time", "description": "when it happened, in microseconds"},
    CART_VERSION: {
        "type": "string",
        "pattern": "^[0-9]+-[0-9]+-[0-9a-f]{12}$",
        "description": "`v-n-digest`: the cart's version and ETag",
    },
    CART_V: _NUMBER | {"description": "`v`: of the operation, or the highest of the cart"},
    CART_N: _NUMBER | {"description": "`n`: how many operations the cart ever had"},
    ORDER_VERSION: _NUMBER | {"description": "ignore a lower one than you have seen"},
    PRODUCT_VERSION: _NUMBER | {"description": "ignore a lower one than you have seen"},
    SOURCE_PARTITION: _NUMBER | {"description": "partition of `cart-changed`"},
    SOURCE_OFFSET: _NUMBER | {"description": "the record there up to which the state was folded"},
    TRACEPARENT: _TEXT | {"description": "W3C Trace Context of the request"},
    "request_id": _TEXT | {"description": "`X-Request-ID` of the request"},
}
_OF_DEAD_LETTERS: Final = "dlq_"
_ABOUT: Final = """\
What cartstream publishes in Kafka. Records may come again, and in compacted topics an older version after a
newer one: compare versions. Ignore fields and headers that you do not know. Keys are UTF-8 texts; the
partition of a record is `murmur2(key) mod partitions`, as Kafka's Java client has it.
"""
_VERSION: Final = "0.1.0"
"""Of the contract: that of the release it comes with."""


def document(partitions: int, named: Callable[[str], str] = str, others: int | None = None) -> dict[str, Any]:
    """The whole document, JSON-serialisable; `named` gives the address of a topic from its name.

    `others`: partitions of the topics that are not of carts; None: as many.
    """
    specs = record_specs()
    structs = [spec.type for spec in specs if spec.part is Part.VALUE]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_SCHEMAS + "{name}")
    # Through JSON, because defaults of the Structs may be Structs.
    generated = msgspec.json.decode(msgspec.json.encode(schemas))
    messages = {bare(topic.name): _messages(topic) for topic in TOPICS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "cartstream topics",
            "version": _VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            bare(topic.name): _channel(
                topic,
                partitions_of(topic.name, partitions, others),
                named(topic.name),
                messages[bare(topic.name)],
            )
            for topic in TOPICS
        },
        "operations": {
            f"publish-{bare(topic.name)}": _operation(topic, messages[bare(topic.name)]) for topic in TOPICS
        },
        "components": {
            "messages": {name: one for several in messages.values() for name, one in several.items()},
            "schemas": {name: _described(found) for name, found in sorted(generated.items())},
        },
    }


@cache
def served(partitions: int, others: int | None = None) -> bytes:
    """The document of this shop, as the gateway answers it; made when it is first asked for."""
    return msgspec.json.encode(document(partitions, others=others))


def rendered() -> str:
    """The text of the file: with the names and the number of partitions that are the default."""
    return msgspec.json.format(msgspec.json.encode(document(PARTITIONS, bare))).decode() + "\n"


def _channel(topic: TopicSpec, partitions: int, address: str, messages: Iterable[str]) -> dict[str, Any]:
    configs = topic.configs(replicas=3)
    numbers = ("retention.ms", "delete.retention.ms", "max.message.bytes")
    return {
        "address": address,
        "summary": topic.purpose,
        "description": f"Key: {topic.key}. Written by: {topic.written_by}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": address,
                "partitions": partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup.value],
                    **{name: int(configs[name]) for name in numbers if name in configs},
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operation(topic: TopicSpec, messages: Iterable[str]) -> dict[str, Any]:
    channel = f"#/channels/{bare(topic.name)}"
    return {
        "action": "send",
        "summary": topic.purpose,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in messages],
    }


def _messages(topic: TopicSpec) -> dict[str, dict[str, Any]]:
    """The messages of a topic by name: one a kind of record, and one for tombstones where there are any."""
    found = {}
    for spec in topic.records:
        named = newest_examples(spec)
        tombstones = {name: one for name, one in named.items() if one.value is None}
        if spec.part is Part.HEADERS:
            payload = {} if len(tombstones) < len(named) else {"type": "null"}
            found[spec.name] = _message(spec, topic, payload, named)
            continue
        records = {name: one for name, one in named.items() if name not in tombstones}
        found[spec.name] = _message(spec, topic, {"$ref": _SCHEMAS + spec.type.__name__}, records)
        if tombstones:
            found[f"{spec.name}-deleted"] = _message(spec, topic, {"type": "null"}, tombstones)
    return found


def _message(
    spec: RecordSpec, topic: TopicSpec, payload: dict[str, Any], named: Mapping[str, Example]
) -> dict[str, Any]:
    about = cleandoc(spec.type.__doc__ or "")
    return {
        "title": f"{spec.name}, version {spec.version}" if payload != {"type": "null"} else "deleted",
        "summary": about.partition("\n")[0]
        if payload != {"type": "null"}
        else "Null: what the key names is gone",
        "headers": _headers([example.headers for example in named.values()]),
        "payload": payload,
        "bindings": {
            "kafka": {"key": _TEXT | {"description": topic.key}, "bindingVersion": _BINDING},
        },
        "examples": [
            {"name": name, "headers": example.headers, "payload": example.value}
            for name, example in named.items()
        ],
    }


def _headers(examples: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The schema of headers such as these."""
    names = list(dict.fromkeys(name for headers in examples for name in headers))
    return {
        "type": "object",
        "required": [name for name in names if all(name in headers for headers in examples)],
        "properties": {name: _header(name) for name in names},
    }


def _header(name: str) -> dict[str, Any]:
    return _TEXT if name.startswith(_OF_DEAD_LETTERS) else _HEADERS[name]


def _described(schema: Any) -> Any:
    """The schema as AsyncAPI has it: each description (a docstring) as it is read, and no discriminators.

    Those of AsyncAPI are names of schemas; ours are in the `enum` of each `kind`.
    """
    if isinstance(schema, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else _described(value)
            for key, value in schema.items()
            if key != "discriminator"
        }
    return [_described(item) for item in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    if not FILE.parent.exists():
        sys.exit(f"{FILE.parent} is not here: run this in a checkout of cartstream")
    FILE.write_text(rendered(), encoding="utf-8")
