"""What Redis holds of a cart, and what it should hold according to carts.fold."""

import msgspec

from carts.content import subtotal
from carts.operations import Operation
from carts.state import State
from carts.view import view
from store.redis import StoredCart
from store.redis.packing import pack_details, pack_line, pack_saved
from tests.store.redis.conftest import StoreFixture


async def window_of(fixture: StoreFixture, cart_id: str) -> list[tuple[int, str]]:
    """(v, op_id) of the window in Redis, in order."""
    members = await fixture.client.execute("ZRANGE", fixture.layout.of_cart(cart_id).win, 0, -1, "WITHSCORES")
    return sorted((int(v), member.decode().partition("\n")[0]) for member, v in members)


async def entries_of(fixture: StoreFixture, cart_id: str) -> list[Operation]:
    """The window's entries in Redis, in order."""
    fields = await fixture.client.execute("HGETALL", fixture.layout.of_cart(cart_id).ops)
    entries = [msgspec.json.decode(value.partition(b"\n")[0], type=Operation) for value in fields.values()]
    return sorted(entries, key=lambda op: (op.version, op.op_id))


async def assert_redis_holds(fixture: StoreFixture, cart_id: str, state: State) -> None:
    """Redis's copy is exactly the state: lines, window, counters, and what a reader sees."""
    cart = await fixture.store.read(cart_id)
    assert isinstance(cart, StoredCart)
    content, head = state.content(), cart.head
    assert cart.content() == content
    assert cart.version == state.version
    assert await window_of(fixture, cart_id) == [(op.version, op.op_id) for op in state.ops]
    assert await entries_of(fixture, cart_id) == list(state.ops)
    assert (head.floor, head.born, head.cleared_version, head.status) == (
        state.floor,
        state.born,
        content.cleared_version,
        state.status,
    )
    assert head.subtotal == subtotal(content)
    assert head.lines == sum(line.quantity > 0 for line in content.lines.values())
    assert head.tracked == len(content.lines)
    lines = sum(
        len(f"l:{line_id}".encode()) + len(pack_line(line)) for line_id, line in content.lines.items()
    )
    metadata = len(msgspec.json.encode(content.metadata)) if content.metadata else 0
    assert head.bytes == lines + metadata + len(pack_details(content.details)) + len(
        pack_saved(content.saved)
    )
    assert head.entries == len(state.ops)
    assert head.window_bytes == sum(len(msgspec.json.encode(op)) for op in state.ops)
    assert head.oldest == (state.ops[0].version if state.ops else 0)
    assert cart.view() == view(cart_id, state)
    assert cart.json() == msgspec.json.encode(view(cart_id, state))
