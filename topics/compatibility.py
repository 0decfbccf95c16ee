"""Checks that no change breaks a reader: `python -m topics.compatibility`, part of `make check`.

Every published version has a JSON Schema (2020-12) in `schemas/` and example records in `examples/`. Full
transitive compatibility: the newest code reads every example, every schema accepts every example, old or new.
Only a step of a kind that came later is unknown to an older schema: its readers set such a record aside.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from topics.codec import DECODERS
from topics.errors import RecordError
from topics.names import schema_urn
from topics.published import FOLDER, Example, examples, record_specs, schema_path
from topics.registry import Part, RecordSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def generate(spec: RecordSpec) -> dict[str, Any]:
    """The JSON Schema of the Struct as it is now; open to further fields: it accepts newer records."""
    # Through JSON, because defaults of the Structs may be Structs.
    generated = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(spec.type)))
    return {
        "$schema": DIALECT,
        "$id": schema_urn(spec.name, spec.version),
        "title": f"{spec.name} {spec.part} v{spec.version}",
        **_in_one_line(generated),
    }


def violations(specs: Sequence[RecordSpec], folder: Path = FOLDER) -> list[str]:
    """What breaks the promise, a sentence each with what to do; empty is good."""
    found: list[str] = []
    for spec in specs:
        found += _of_newest_schema(spec, folder)
        found += _of_readers(spec, folder)
        found += _of_schemas(spec, folder)
    return found


def write(spec: RecordSpec, folder: Path = FOLDER) -> bool:
    """Write the schema of a version that has none yet; never changes one that is there. True if it wrote."""
    path = schema_path(spec.name, spec.version, folder)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(generate(spec)), indent=2) + b"\n")
    return True


def _of_newest_schema(spec: RecordSpec, folder: Path) -> list[str]:
    path = schema_path(spec.name, spec.version, folder)
    if not path.exists():
        return [f"{path} is missing: run `python -m topics.compatibility --write` and add example records"]
    if _rules(msgspec.json.decode(path.read_bytes())) == _rules(generate(spec)):
        return []
    advice = (
        f"undo the change, or give the record version {spec.version + 1} in topics/registry.py, then run "
        "`python -m topics.compatibility --write` and add example records"
    )
    return [
        f"{path} no longer describes {spec.type.__name__}, and a published version never changes: {advice}"
    ]


def _of_readers(spec: RecordSpec, folder: Path) -> list[str]:
    found = []
    newest = False
    for path, example in examples(spec.name, folder):
        newest = newest or path.parent.name == f"v{spec.version}"
        try:
            _read(spec, example)
        except (RecordError, msgspec.ValidationError) as error:
            found.append(
                f"{path} can no longer be read ({error}): records like it are in topics, keep reading them"
            )
    if not newest:
        found.append(f"{spec.name} v{spec.version} has no example records: add some in examples/{spec.name}/")
    return found


def _of_schemas(spec: RecordSpec, folder: Path) -> list[str]:
    # Only this check needs it: the processes run without.
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # noqa: PLC0415

    found = []
    path = schema_path(spec.name, spec.version, folder)
    newest = _kinds(msgspec.json.decode(path.read_bytes())) if path.exists() else set()
    for version in range(1, spec.version + 1):
        schema = schema_path(spec.name, version, folder)
        if not schema.exists():
            continue
        validator = Draft202012Validator(
            msgspec.json.decode(schema.read_bytes()), format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        later = newest - _kinds(validator.schema)
        for path, example in examples(spec.name, folder):
            document = _document(spec, example)
            if document is None or _has_step_of(later, document):
                continue
            found += [
                f"{path} is not valid for {spec.name} {schema.name}, {error.json_path}: {error.message[:200]}"
                for error in validator.iter_errors(document)
            ]
    return found


def _read(spec: RecordSpec, example: Example) -> None:
    """Read the example as the newest code reads a record."""
    document = _document(spec, example)
    if document is None:
        return
    if (decode := DECODERS.get(spec.type)) is not None:
        decode(msgspec.json.encode(document))
    else:
        msgspec.convert(document, spec.type)


def _document(spec: RecordSpec, example: Example) -> Any:
    return example.value if spec.part is Part.VALUE else example.headers


def _kinds(schema: Any) -> set[str]:
    """The kinds of steps that a schema knows."""
    if isinstance(schema, list):
        return {kind for item in schema for kind in _kinds(item)}
    if not isinstance(schema, dict):
        return set()
    own = schema["kind"].get("enum", []) if isinstance(schema.get("kind"), dict) else []
    return {*own, *(kind for value in schema.values() for kind in _kinds(value))}


def _has_step_of(kinds: set[str], document: Any) -> bool:
    if isinstance(document, list):
        return any(_has_step_of(kinds, item) for item in document)
    if not isinstance(document, dict):
        return False
    kind = document.get("kind")
    return (isinstance(kind, str) and kind in kinds) or any(
        _has_step_of(kinds, value) for value in document.values()
    )


def _in_one_line(schema: Any) -> Any:
    """The schema, with each description (a docstring) in one line."""
    if isinstance(schema, dict):
        return {
            key: " ".join(value.split()) if _describes(key, value) else _in_one_line(value)
            for key, value in schema.items()
        }
    return [_in_one_line(item) for item in schema] if isinstance(schema, list) else schema


def _rules(schema: dict[str, Any]) -> Any:
    """The schema without descriptions, titles and names of definitions: words may get better, rules stay."""
    definitions = schema.get("$defs", {})

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            if isinstance(reference := part.get("$ref"), str):
                return plain(definitions[reference.rpartition("/")[2]])
            return {key: plain(value) for key, value in part.items() if not _names(key, value)}
        return [plain(item) for item in part] if isinstance(part, list) else part

    return plain({key: value for key, value in schema.items() if key != "$defs"})


def _describes(key: str, value: Any) -> bool:
    return key == "description" and isinstance(value, str)


def _names(key: str, value: Any) -> bool:
    return _describes(key, value) or (key == "title" and isinstance(value, str))


def main(arguments: Sequence[str]) -> int:
    """Check everything; with `--write`, first write the schemas of new versions. Returns the exit code."""
    specs = record_specs()
    if "--write" in arguments:
        for spec in specs:
            if write(spec):
                sys.stdout.write(f"wrote {schema_path(spec.name, spec.version, FOLDER)}\n")
    found = violations(specs)
    for violation in found:
        sys.stderr.write(f"{violation}\n")
    if not found:
        count = sum(1 for spec in specs for _ in examples(spec.name))
        sys.stdout.write(f"{len(specs)} kinds of records, {count} examples: compatible in all directions\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
