"""A topic that is added is added everywhere; each test names the place that was forgotten."""

from pathlib import Path

import pytest

from topics import registry
from topics.codec import DECODERS
from topics.names import in_kafka
from topics.published import FOLDER
from topics.registry import DEAD_LETTERS, TOPICS, RecordSpec, TopicSpec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "topics.md"
RECORDS = [record for topic in TOPICS for record in topic.records]


def test_every_topic_is_in_the_table_of_topics() -> None:
    defined = {found.name for found in vars(registry).values() if isinstance(found, TopicSpec)}
    assert defined == {topic.name for topic in TOPICS}, "topics/registry.py: TOPICS"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_is_on_the_page_of_topics(topic: TopicSpec) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    name = topic.name.removeprefix(in_kafka(""))
    assert any(f"`{name}`" in row.split("|")[1] for row in rows), f"{PAGE}: the table of topics"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_record_has_a_schema_and_examples(record: RecordSpec) -> None:
    assert (FOLDER / "schemas" / record.name / f"v{record.version}.json").exists(), "topics/schemas/"
    assert list((FOLDER / "examples" / record.name).rglob("*.json")), "topics/examples/"


def test_every_decoder_is_that_of_a_record() -> None:
    assert DECODERS.keys() <= {record.type for record in RECORDS}, "topics/codec.py: DECODERS"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_record_fits_into_the_dead_letters(topic: TopicSpec) -> None:
    room = DEAD_LETTERS.max_message_bytes - topic.max_message_bytes
    assert topic is DEAD_LETTERS or room > 0, "topics/registry.py: DEAD_LETTERS.max_message_bytes"
