"""The fold of `cart-changed` in plain dictionaries: what a consumer ports to its own language.

`fold(cart, change)` gives the cart after a change, `view(cart)` what GET shows of it. A cart is the field
`state` of a record of `carts`, a change is the value of a record of `cart-changed`. Nothing is changed in
place. Late, repeated and reordered changes give the same cart.

A cart is `base`, the lines of settled operations, and `ops`, the operations of the last 20 minutes, sorted
by (v, op_id). A version is twice the microseconds since 1970. What is at or below `floor` has left `ops`.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from cart_content import NO_LINE, Json, apply, shown_lines, shown_saved

WINDOW: Final = 2 * 20 * 60 * 1_000_000
KINDS: Final = {
    *("add", "set", "remove", "clear", "metadata", "details", "save"),
    *("subtract", "claim", "finish", "merged"),
}
"""Steps that a cart keeps, and that may come with others."""
COMMANDS: Final = ("expire", "purge", "trim", "erase", "seed")
"""Each is a change of its own."""
NO_CART: Final[Json] = {
    "base": {},
    "floor": 0,
    "start": 0,
    "ops": [],
    "trimmed": 0,
    "trimmed_digest": 0,
    "born": 0,
    "ordered_version": 0,
    "claim": None,
    "transfers": 0,
    "merged_into": None,
    "erased": 0,
}
_EXPIRY, _VOID = "!x:", "!y:"
_TRANSFER: Final = re.compile(r"!(?:merge|finish)/([0-9]{1,15})/.*")


def fold(cart: Json | None, change: Json, purge_floor: int = 0, window: int = WINDOW) -> Json | None:
    """The cart after a change; None: there is no such cart, or the change has deleted it.

    `purge_floor` is the highest version ever deleted in the partition. ValueError for a kind of step that
    this fold does not know: compaction is newer, or has refused the change, too.
    """
    cart = None if cart is None else NO_CART | cart
    kinds = [step["kind"] for step in change["delta"]]
    if len(kinds) == 1 and kinds[0] in COMMANDS:
        return _command(cart, change, purge_floor, window)
    if not kinds or not KINDS.issuperset(kinds) or change["op_id"].startswith((_EXPIRY, _VOID)):
        raise ValueError(f"no fold for {kinds}")
    if cart is None:
        if change["v"] <= purge_floor:
            return None
        cart = {**NO_CART, "floor": purge_floor, "start": purge_floor}
    return _write(cart, change, window)


def version_of(cart: Json) -> tuple[int, int]:
    """`v` and `n` of a cart: the highest version of an operation, and how many operations there ever were."""
    ops = cart.get("ops", [])
    return ops[-1]["v"] if ops else cart.get("floor", 0), cart.get("trimmed", 0) + len(ops)


def view(cart: Json) -> Json:
    """What GET shows: status, version, currency, lines in their order, metadata, details, saved lines."""
    cart = NO_CART | cart
    content = _content(cart)
    lines = shown_lines(content)
    v, n = version_of(cart)
    digest = (cart["trimmed_digest"] + _digest(cart["ops"])) % 2**48
    return {
        "status": _status(cart),
        "version": f"{v}-{n}-{digest:012x}",
        "currency": content["currency"],
        "lines": lines,
        "subtotal": sum(line["quantity"] * line["unit_price"] for line in lines),
        "metadata": content["metadata"],
        "details": content["details"],
        "saved": shown_saved(content),
        "merged_into": cart["merged_into"],
    }


def _status(cart: Json) -> str:
    if cart["merged_into"] is not None:
        return "merged"
    if _is_expired(cart):
        return "expired"
    return "active" if cart["claim"] is None else "claimed"


# Changes


def _command(cart: Json | None, change: Json, purge_floor: int, window: int) -> Json | None:
    step = change["delta"][0]
    match step["kind"]:
        case "expire":
            return _expire(cart, step)
        case "purge":
            # Compaction also demands that the retention is over; nobody asks for it earlier.
            return None if _is_expired(cart) and _is_at(cart, step) else cart
        case "trim":
            return _trim_idle(cart, step["at"], window)
        case "erase":
            return _erase(cart, change, purge_floor)
        case _:
            return _seed(cart, step["state"], purge_floor, window)


def _write(cart: Json, change: Json, window: int) -> Json:
    v, op_id, steps = change["v"], change["op_id"], change["delta"]
    if v <= cart["floor"]:
        return cart
    attempts = [op for op in cart["ops"] if op["op_id"] == op_id]
    first = next((op for op in attempts if not _is_duplicate(op)), None)
    is_order = any(step["kind"] == "subtract" for step in steps)
    is_remembered = not (first if is_order else attempts) and _remembers(cart, op_id, steps)
    if is_remembered and not is_order:
        return cart
    ops = cart["ops"] + ([] if is_remembered else _voids(cart, change))
    if not any(op["v"] == v for op in attempts):
        if is_remembered:
            first = _operation(change, [{"kind": "duplicate"}])
        elif first is None:  # else it is a further attempt: the first one's steps count, at the highest v
            first = _operation(change, [_renewed(step, cart, v) for step in steps])
        ops = [*ops, {**first, "v": v}]
    elif len(ops) == len(cart["ops"]):
        return cart
    born = min(cart["born"], v) if cart["born"] else v
    return _trim({**_noted(cart, op_id, steps), "ops": _overruled(ops), "born": born}, window)


def _operation(change: Json, steps: list[Json]) -> Json:
    entry = {"v": change["v"], "op_id": change["op_id"], "delta": steps}
    return entry | {"fingerprint": change.get("fingerprint", "")}


def _remembers(cart: Json, op_id: str, steps: Iterable[Json]) -> bool:
    """Whether an order, claim or transfer is known although its operation may have left `ops`."""
    if any(step["kind"] == "subtract" and step["sv"] <= cart["ordered_version"] for step in steps):
        return True
    if transfer := _TRANSFER.fullmatch(op_id):
        known: int = cart["transfers"]
        return int(transfer[1]) <= known
    return cart["claim"] is not None and op_id == f"!claim/{cart['claim']['merge_id']}"


def _noted(cart: Json, op_id: str, steps: Iterable[Json]) -> Json:
    """The cart with what a change says of merges: it is known for longer than its operation is in `ops`."""
    noted = dict(cart)
    for step in steps:
        if step["kind"] == "claim":
            noted["claim"] = noted["claim"] or {"merge_id": step["merge_id"], "into": step["into"]}
        elif step["kind"] == "merged":
            noted["merged_into"] = noted["merged_into"] or step["into"]
    if transfer := _TRANSFER.fullmatch(op_id):
        noted["transfers"] = max(noted["transfers"], int(transfer[1]))
    return noted


def _voids(cart: Json, change: Json) -> list[Json]:
    """A write that did not know of an expiry, and that it did not know of, takes it back."""
    previous, ids = change.get("prev"), {op["op_id"] for op in cart["ops"]}
    voids = []
    for op in cart["ops"]:
        name = op["op_id"].removeprefix(_EXPIRY)
        if previous is None or name == op["op_id"] or _VOID + name in ids:
            continue
        seen = op["delta"][0]["seen"]
        if previous == seen or (change["v"] > seen and previous < op["v"]):
            voids.append(
                {"v": op["v"], "op_id": _VOID + name, "fingerprint": "", "delta": [{"kind": "void"}]}
            )
    return voids


def _is_at(cart: Json | None, step: Json) -> bool:
    """Whether the cart is still what an expiry or purge has seen."""
    return cart is not None and version_of(cart) == (step["seen"], step["seen_n"])


def _expire(cart: Json | None, step: Json) -> Json | None:
    if cart is None or _is_expired(cart) or not _is_at(cart, step):
        return cart
    highest = version_of(cart)[0]
    v = max(highest + 1 + highest % 2, 2 * step["at"] + 1)
    op_id = f"{_EXPIRY}{step['seen']}-{step['seen_n']}"
    expiry = {"v": v, "op_id": op_id, "fingerprint": "", "delta": [step]}
    return {**cart, "ops": [*cart["ops"], expiry]}


def _erase(cart: Json | None, change: Json, purge_floor: int) -> Json | None:
    v = change["v"]
    if v <= (purge_floor if cart is None else cart["erased"]):
        return cart
    cart = cart or {**NO_CART, "floor": purge_floor, "start": purge_floor}
    ops = _sorted([*cart["ops"], _operation(change, change["delta"])])
    floor = max(cart["floor"], v - 1)
    gone = [op for op in ops if op["v"] <= floor]
    return {
        **_without(cart, gone, floor),
        "base": {"clr": floor},
        "ops": ops[len(gone) :],
        "erased": v,
    }


def _seed(cart: Json | None, state: Json, purge_floor: int, window: int) -> Json | None:
    seed = NO_CART | state
    if cart is None and version_of(seed)[0] <= purge_floor:
        return None
    return _trim(_union(cart or seed, seed), window)


def _union(a: Json, b: Json) -> Json:
    """Two copies of a cart in one: the base of the higher floor, and the operations of both above it."""
    rank = ("erased", "floor", "trimmed", "trimmed_digest")
    low, high = sorted((b, a), key=lambda copy: [copy[name] for name in rank])
    ops: dict[tuple[int, str], Json] = {}
    for op in (*high["ops"], *low["ops"]):
        key = op["v"], op["op_id"]
        if op["v"] > high["floor"] and (key not in ops or _is_duplicate(op)):
            ops[key] = op
    return {
        **high,
        "ops": _overruled(ops.values()),
        "born": min((copy["born"] for copy in (a, b) if copy["born"]), default=0),
        "ordered_version": max(a["ordered_version"], b["ordered_version"]),
        "claim": high["claim"] or low["claim"],
        "transfers": max(a["transfers"], b["transfers"]),
        "merged_into": high["merged_into"] or low["merged_into"],
    }


# The window


def _sorted(ops: Iterable[Json]) -> list[Json]:
    return sorted(ops, key=lambda op: (op["v"], op["op_id"]))


def _is_duplicate(op: Json) -> bool:
    kind: str = op["delta"][0]["kind"]
    return kind == "duplicate"


def _effective(ops: Sequence[Json]) -> list[Json]:
    """The operations that count: of each the newest attempt; no duplicates, no expiries that are void."""
    newest = {op["op_id"]: op["v"] for op in ops if not _is_duplicate(op)}
    return [
        op
        for op in ops
        if not _is_duplicate(op)
        and newest[op["op_id"]] == op["v"]
        and not op["op_id"].startswith(_VOID)
        and not (op["op_id"].startswith(_EXPIRY) and _VOID + op["op_id"].removeprefix(_EXPIRY) in newest)
    ]


def _is_expired(cart: Json | None) -> bool:
    counted = _effective(cart["ops"]) if cart is not None else []
    return bool(counted) and counted[-1]["op_id"].startswith(_EXPIRY)


def _overruled(ops: Iterable[Json]) -> list[Json]:
    """Sorted; attempts newer than the one that an order or transfer has counted become duplicates."""
    counted: dict[str, int] = {}
    ops = _sorted(ops)
    for birth in (birth for op in ops for step in op["delta"] for birth in step.get("births", [])):
        counted[birth["op_id"]] = min(birth["v"], counted.get(birth["op_id"], birth["v"]))
    return [
        {**op, "delta": [{"kind": "duplicate"}]} if op["v"] > counted.get(op["op_id"], op["v"]) else op
        for op in ops
    ]


def _newest_write(ops: Sequence[Json]) -> int:
    return next((op["v"] for op in reversed(ops) if not op["op_id"].startswith((_EXPIRY, _VOID))), 0)


def _trim(cart: Json, window: int) -> Json:
    newest = _newest_write(cart["ops"])
    count = sum(op["v"] < newest - window for op in cart["ops"])
    return _settled(cart, count, max(cart["floor"], newest - window - 1)) if newest else cart


def _trim_idle(cart: Json | None, at: int, window: int) -> Json | None:
    if cart is None or _status(cart) != "active":
        return cart
    newest = _newest_write(cart["ops"])
    if not newest or newest != version_of(cart)[0] or newest > 2 * at - window:
        return cart
    return _settled(cart, len(cart["ops"]), newest)


def _settled(cart: Json, count: int, floor: int) -> Json:
    """The cart after its oldest `count` operations have gone into the base."""
    gone = cart["ops"][:count]
    counted = [op for op in _effective(cart["ops"]) if op["v"] <= floor] if gone else []
    base = apply(cart["base"], counted, cart["start"]) if counted else cart["base"]
    return {**_without(cart, gone, floor), "base": base, "ops": cart["ops"][count:]}


def _without(cart: Json, gone: Sequence[Json], floor: int) -> Json:
    """The counts of a cart that some operations leave."""
    orders = [step["sv"] for op in gone for step in op["delta"] if step["kind"] == "subtract"]
    return {
        **cart,
        "floor": floor,
        "trimmed": cart["trimmed"] + len(gone),
        "trimmed_digest": (cart["trimmed_digest"] + _digest(gone)) % 2**48,
        "ordered_version": max(cart["ordered_version"], *orders, 0),
    }


def _digest(ops: Iterable[Json]) -> int:
    texts = (f"{op['v']}:{op['op_id']}" for op in ops)
    return sum(
        int.from_bytes(hashlib.sha1(text.encode(), usedforsecurity=False).digest()[:6]) for text in texts
    )


def _content(cart: Json) -> Json:
    return apply(cart["base"], _effective(cart["ops"]), cart["start"])


# Orders and merges that come late


def _renewed(step: Json, cart: Json, version: int) -> Json:
    """A subtraction, adapted where a newer attempt of what it takes out counts in this cart.

    The attempt that the order has counted has left `ops`. The newer one put the same pieces in again: the
    subtraction names it instead, and takes out what it has put in.
    """
    gone = {birth["op_id"]: birth["v"] for birth in step.get("births", []) if birth["v"] <= cart["floor"]}
    counted = [op for op in _effective(cart["ops"]) if op["v"] < version]
    again = {op["op_id"]: op["v"] for op in counted if op["v"] > gone.get(op["op_id"], op["v"])}
    if not again:
        return step
    now = apply(cart["base"], counted, cart["start"])
    rest = [op for op in counted if op["op_id"] not in again]
    without = apply(cart["base"], rest, cart["start"])
    lines = [_renewed_line(line, now, without) for line in step["lines"]]
    births = [{**birth, "v": again.get(birth["op_id"], birth["v"])} for birth in step["births"]]
    return {**step, "lines": [line for line in lines if line["quantity"] > 0], "births": births}


def _renewed_line(ordered: Json, now: Json, without: Json) -> Json:
    (quantity, decided), before = (_stand(content, ordered["line_id"]) for content in (now, without))
    if (quantity, decided) == before:
        return ordered
    most = quantity - before[0] if before[1] > ordered["dv"] else quantity
    return {**ordered, "quantity": max(0, min(ordered["quantity"], most)), "dv": decided}


def _stand(content: Json, line_id: str) -> tuple[int, int]:
    """The quantity of a line, and the version that has decided it."""
    line: Json = content["lines"].get(line_id, NO_LINE)
    return line["quantity"], max(line["dv"], content["clr"])
