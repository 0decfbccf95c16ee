"""What a cart holds, in plain dictionaries, and how the steps of operations change it."""

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]

NO_LINE: Final[Json] = {
    "product_id": "",
    "quantity": 0,
    "unit_price": 0,
    "options": {},
    "metadata": {},
    "dv": 0,
    "av": 0,
    "step": 0,
}
"""`dv` is the version of the set or remove that last decided the line, `av` that which made it appear.

A quantity may be negative for a while: a subtraction may come before the add that it takes back.
"""
NO_CONTENT: Final[Json] = {
    "lines": {},
    "clr": 0,
    "currency": None,
    "metadata": {},
    "details": {},
    "saved": {},
}
"""`clr` is the version of the last clear: it has decided every line that has appeared since."""


def apply(base: Json, operations: Iterable[Json], start: int) -> Json:
    """The content after operations that count, in their order; `start` is the cart's."""
    content = NO_CONTENT | base
    content["lines"] = {line_id: NO_LINE | line for line_id, line in content["lines"].items()}
    content["saved"] = dict(content["saved"])
    for operation in operations:
        for index, step in enumerate(operation["delta"]):
            _apply(content, operation["v"], index, step, start)
    return content


def shown_lines(content: Json) -> list[Json]:
    """The lines that have pieces, in the order in which they were added."""
    lines = [(line_id, line) for line_id, line in content["lines"].items() if line["quantity"] > 0]
    lines.sort(key=lambda entry: (entry[1]["av"], entry[1]["step"], entry[0]))
    return [_shown(line_id, line, "unit_price") for line_id, line in lines]


def shown_saved(content: Json) -> list[Json]:
    """The lines that are saved for later."""
    return [_shown(line_id, line) for line_id, line in sorted(content["saved"].items())]


def _shown(line_id: str, line: Json, *more: str) -> Json:
    names = ("product_id", "quantity", "options", "metadata", *more)
    return {"line_id": line_id} | {name: (NO_LINE | line)[name] for name in names}


def _apply(content: Json, version: int, index: int, step: Json, start: int) -> None:
    match step["kind"]:
        case "add" | "set":
            _put(content, version, index, step)
        case "remove":
            # It stays, with its `dv`: a later subtraction must know that this remove has decided it.
            line = _line(content, step["line_id"]) | {"quantity": 0, "metadata": {}}
            content["lines"][step["line_id"]] = line | {"dv": version, "av": version, "step": 0}
        case "clear" | "expire":
            content.update(lines={}, clr=version, currency=None)
        case "metadata":
            _note(content, step)
        case "details":
            patched = content["details"] | {name: value for name, value in step.items() if name != "kind"}
            content["details"] = {name: value for name, value in patched.items() if value not in (None, [])}
        case "save":
            _save(content, step)
        case "subtract" | "finish" if step["sv"] >= start:
            for ordered in step["lines"]:
                _withdraw(content, ordered)


def _line(content: Json, line_id: str) -> Json:
    """A line; one that is not there counts as decided by the last clear."""
    new = NO_LINE | {"product_id": line_id.partition("~")[0], "dv": content["clr"]}
    found: Json = content["lines"].get(line_id, new)
    return found


def _put(content: Json, version: int, index: int, step: Json) -> None:
    line = _line(content, step["line_id"])
    if line["quantity"] <= 0:
        line = line | {"av": version, "step": index}
    if step["kind"] == "set":
        line = line | {"quantity": 0, "dv": version}
    metadata = line["metadata"] if step.get("metadata") is None else step["metadata"]
    line = line | {"options": {}} | step["item"] | {"unit_price": step["unit_price"], "metadata": metadata}
    content["lines"][step["line_id"]] = line | {"quantity": line["quantity"] + step["quantity"]}
    content["currency"] = step["currency"]


def _note(content: Json, step: Json) -> None:
    lines, line_id = content["lines"], step.get("line_id")
    if line_id is None:
        content["metadata"] = step["metadata"]
    elif line_id in lines:
        lines[line_id] = lines[line_id] | {"metadata": step["metadata"]}


def _save(content: Json, step: Json) -> None:
    content["saved"].pop(step["line_id"], None)
    if step["quantity"]:
        saved = {"quantity": step["quantity"], "metadata": step.get("metadata", {})}
        content["saved"][step["line_id"]] = {"options": {}} | step["item"] | saved


def _withdraw(content: Json, ordered: Json) -> None:
    """Take out what was ordered or merged, unless a later set, remove or clear has decided the line."""
    line = _line(content, ordered["line_id"])
    if line["dv"] > ordered["dv"]:
        return
    quantity = line["quantity"] - ordered["quantity"]
    if quantity or line["dv"]:
        content["lines"][ordered["line_id"]] = line | {"quantity": quantity}
    else:
        content["lines"].pop(ordered["line_id"], None)
