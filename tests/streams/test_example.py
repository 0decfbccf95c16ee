"""The published sample that folds `cart-changed` alone finds what stands in `carts`."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carts.operations import Add, Clear, Item, Remove, Set, SetMetadata, Step
from runtime.settings import KafkaSettings
from tests.streams.conftest import Shopper, Topics
from tests.support.processes import AgentProcess

SAMPLE = Path(__file__).parents[2] / "examples" / "fold_cart_changed.py"


def some_step(dice: random.Random) -> Step:
    line_id = f"sku-{dice.randrange(4)}"
    item = Item(line_id)
    price = dice.randrange(100, 999)
    metadata = dice.choice([None, {}, {"note": dice.randrange(9)}])
    steps: list[Step] = [
        Add(line_id, dice.randrange(1, 5), price, "EUR", item, metadata),
        Set(line_id, dice.randrange(1, 9), price, "EUR", item, metadata),
        Remove(line_id),
        SetMetadata({"gift": dice.randrange(9)}, line_id),
        Clear(),
    ]
    return dice.choices(steps, [8, 3, 3, 3, 1])[0]


@pytest.mark.timeout(300)
async def test_folding_cart_changed_alone_gives_what_carts_says(
    topics: Topics,
    workers: Callable[[str], AgentProcess],
    new_shopper: Callable[[], Shopper],
    kafka: KafkaSettings,
) -> None:
    dice = random.Random(11)
    expected: dict[str, int] = {}
    for _ in range(12):
        shopper = new_shopper()
        changes = [
            shopper.change(
                *[some_step(dice) for _ in range(dice.randrange(1, 4))], op_id=f"op-{dice.randrange(25)}"
            )
            for _ in range(30)
        ]
        payloads = {change.op_id: change.delta for change in reversed(changes)}
        attempts = [
            # One payload an operation, however often it is born.
            shopper.change(*payloads[change.op_id], op_id=change.op_id)
            for change in changes
        ]
        delivered = [*attempts, *dice.sample(attempts, 10)]
        dice.shuffle(delivered)
        await topics.change(*delivered)
        expected[shopper.cart_id] = len(attempts)
    await workers("w").start()
    for cart_id, n in expected.items():
        await topics.until_counted(cart_id, n)

    command = [sys.executable, str(SAMPLE), "--bootstrap", kafka.kafka_bootstrap]
    printed = await asyncio.to_thread(subprocess.check_output, command, text=True)

    folded = {cart["cart_id"]: cart["lines"] for cart in map(json.loads, printed.splitlines())}
    for cart_id in expected:
        cart = topics.cart(cart_id)
        assert cart is not None
        assert folded[cart_id] == {
            line.line_id: {
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "metadata": line.metadata,
            }
            for line in cart.lines
        }
