"""What is published of the records beside the code: the schema of each version, and example records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from topics.names import schema_id
from topics.registry import TOPICS, RecordSpec

FOLDER: Final = Path(__file__).parent


class Example(msgspec.Struct, frozen=True):
    """A record as a reader finds it; a value of None is a tombstone."""

    key: str
    headers: dict[str, str]
    value: Any


def record_specs() -> list[RecordSpec]:
    """Every kind of record that is published."""
    return [record for topic in TOPICS for record in topic.records]


def schema_path(name: str, version: int, folder: Path = FOLDER) -> Path:
    """Where the schema of a version is."""
    return folder / "schemas" / name / f"v{version}.json"


def schema(name: str, version: int) -> dict[str, Any] | None:
    """The schema of a version, as its id leads to it; None if there is no such schema."""
    if version not in versions(name):
        return None
    found: dict[str, Any] = msgspec.json.decode(schema_path(name, version).read_bytes())
    return found | {"$id": schema_id(name, version)}


def versions(name: str) -> range:
    """The versions of a kind of record, from the first to the newest; empty for a name that is none."""
    return next((range(1, spec.version + 1) for spec in record_specs() if spec.name == name), range(0))


def examples(name: str, folder: Path = FOLDER) -> Iterator[tuple[Path, Example]]:
    """The example records of all versions."""
    for path in sorted((folder / "examples" / name).glob("v*/*.json")):
        yield path, msgspec.json.decode(path.read_bytes(), type=Example)


def newest_examples(spec: RecordSpec) -> dict[str, Example]:
    """The example records of the newest version, by the names of their files."""
    return {
        path.stem: example for path, example in examples(spec.name) if path.parent.name == f"v{spec.version}"
    }
