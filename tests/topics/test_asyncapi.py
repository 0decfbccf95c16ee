"""The AsyncAPI document is valid, says what the table of topics says, and its examples fit its schemas."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]

from topics.asyncapi import FILE, document, rendered
from topics.published import record_specs
from topics.registry import CARTS, PARTITIONS, TOPICS
from topics.strimzi import bare

ROOT = Path(__file__).parents[2]
SPECIFICATION = Path(__file__).parent / "vectors" / "asyncapi-3.0.0.json"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / FILE).read_text(encoding="utf-8"))
    return found


def test_the_page_is_that_of_the_code() -> None:
    assert (ROOT / FILE).read_text(encoding="utf-8") == rendered(), (
        "run `.venv/bin/python -m topics.asyncapi`"
    )


def test_the_document_is_valid_asyncapi_3(described: dict[str, Any]) -> None:
    validator = Draft7Validator(json.loads(SPECIFICATION.read_text(encoding="utf-8")))
    assert [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(described)] == []


def test_every_topic_is_a_channel_and_every_record_a_message(described: dict[str, Any]) -> None:
    assert list(described["channels"]) == [bare(topic.name) for topic in TOPICS]
    for topic in TOPICS:
        channel = described["channels"][bare(topic.name)]
        assert {record.name for record in topic.records} <= set(channel["messages"])
        assert channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == [topic.cleanup]
        assert channel["bindings"]["kafka"]["partitions"] == PARTITIONS


def test_every_example_fits_its_message(described: dict[str, Any]) -> None:
    wrong, count = [], 0
    for name, message in described["components"]["messages"].items():
        for part in ("headers", "payload"):
            validator = Draft202012Validator({**message[part], "components": described["components"]})
            for example in message["examples"]:
                wrong += [
                    f"{name} {example['name']}: {error}" for error in validator.iter_errors(example[part])
                ]
                count += 1
    assert wrong == []
    assert count > 2 * len(record_specs())


def test_a_message_without_a_required_header_does_not_fit(described: dict[str, Any]) -> None:
    message = described["components"]["messages"]["carts"]
    headers = message["examples"][0]["headers"]
    assert set(message["headers"]["required"]) == set(headers)
    validator = Draft202012Validator(message["headers"])
    assert not validator.is_valid({name: text for name, text in headers.items() if name != "cart_v"})


def test_a_shop_with_a_prefix_sees_its_own_names() -> None:
    described = document(4, "shop-a.{}".format)
    channel = described["channels"][bare(CARTS.name)]
    assert (channel["address"], channel["bindings"]["kafka"]["partitions"]) == (f"shop-a.{CARTS.name}", 4)
