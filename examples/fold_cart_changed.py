"""Fold `cart-changed` into carts with nothing but a Kafka client: what a consumer writes in any language.

    python examples/fold_cart_changed.py --bootstrap 127.0.0.1:9092 [--cart user:42]

The rules: sort the operations of a cart by (v, op_id), and count each op_id once, at its highest v, because a
retry may have made a second attempt. Then late, duplicate and reordered records change nothing.

The topic keeps 7 days. For older carts start from `carts`, and continue in `cart-changed` after the record
that its headers `source_partition` and `source_offset` name.

It knows adds, sets, removes, clears and metadata only: carts that were ordered, merged, expired, erased
or restored come out WRONG. For these read `carts`, or port `carts/fold.py`.
"""

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaConsumer

Line = dict[str, Any]
Step = dict[str, Any]


class Cart:
    """The operations of one cart, and the cart they make."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._deltas: dict[str, list[Step]] = {}

    def take(self, change: dict[str, Any]) -> None:
        """Keep the operation of one `cart-changed` record; a duplicate changes nothing."""
        op_id = change["op_id"]
        self._versions[op_id] = max(change["v"], self._versions.get(op_id, 0))
        self._deltas.setdefault(op_id, change["delta"])

    def lines(self) -> dict[str, Line]:
        """The lines with a positive quantity, by line id."""
        lines: dict[str, Line] = {}
        for _, op_id in sorted((v, op_id) for op_id, v in self._versions.items()):
            for step in self._deltas[op_id]:
                _apply(lines, step)
        return {line_id: line for line_id, line in lines.items() if line["quantity"] > 0}


def _apply(lines: dict[str, Line], step: Step) -> None:
    line_id = step.get("line_id", "")
    line = lines.get(line_id, {"quantity": 0, "unit_price": 0, "metadata": {}})
    match step["kind"]:
        case "add" | "set":
            before = line["quantity"] if step["kind"] == "add" else 0
            metadata = step.get("metadata")
            lines[line_id] = {
                "quantity": before + step["quantity"],
                "unit_price": step["unit_price"],
                "metadata": line["metadata"] if metadata is None else metadata,
            }
        case "remove":
            lines[line_id] = {**line, "quantity": 0, "metadata": {}}
        case "clear":
            lines.clear()
        case "metadata" if line_id in lines:
            lines[line_id] = {**line, "metadata": step["metadata"]}
        case "details" | "save":
            pass  # beside the lines


async def fold(bootstrap: str, topic: str = "cart-changed") -> dict[str, Cart]:
    """Read `cart-changed` from its beginning to its present end; returns the carts by id."""
    carts: dict[str, Cart] = defaultdict(Cart)
    # Without a group it is given every partition.
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    try:
                        change = json.loads(record.value or b"")
                        carts[change["cart_id"]].take(change)
                    except (ValueError, KeyError, TypeError):
                        continue  # no change at all: it is in the dead letters, too
    return carts


def main() -> None:
    """Print the carts as JSON, one a line."""
    parser = argparse.ArgumentParser(description="Fold cart-changed into carts")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="host:port of a broker")
    parser.add_argument("--topic", default="cart-changed", help="with a prefix: shop-a.cart-changed")
    parser.add_argument("--cart", help="only this cart")
    arguments = parser.parse_args()
    carts = asyncio.run(fold(arguments.bootstrap, arguments.topic))
    for cart_id, cart in sorted(carts.items()):
        if arguments.cart in (None, cart_id):
            sys.stdout.write(json.dumps({"cart_id": cart_id, "lines": cart.lines()}) + "\n")


if __name__ == "__main__":
    main()
