"""The topics are lost: Postgres brings the carts back into Kafka, as they were."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from carts.fold import fold
from carts.protocol import Deleted
from carts.state import State, trim, union
from ops.progress import silent
from ops.seeding import Plan, plan, restore_from_postgres, seed
from ops.settings import OpsSettings
from runtime.settings import KafkaSettings
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres.session import Address
from tests.ops.command_line import CommandLine
from tests.ops.states import changes_published, state_in_carts, states_in_carts
from tests.sinks.cart_records import START, TopicWriter, add, expire, grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.waiting import until
from topics.codec import decode_change, encode_change

CART = "user:1"
HOUR = 2 * 3600 * 1_000_000
EARLIER = START - HOUR


def long_lived(cart_id: str) -> State:
    """A cart whose first operations have left its window."""
    state = fold(grow(cart_id, 3, first=EARLIER), add(cart_id, 4)).state
    assert state is not None
    assert state.trimmed == 3
    return state


def begun_anew(cart_id: str) -> State:
    """The same cart in empty topics: compaction got only what the shopper did then."""
    state = fold(None, add(cart_id, 5)).state
    assert state is not None
    return state


def test_what_carts_lacks_is_seeded() -> None:
    assert plan(grow(CART, 2), None, 0) is Plan.SEED
    assert plan(grow(CART, 2), grow(CART, 1), 0) is Plan.SEED
    assert plan(grow(CART, 2), Deleted(grow(CART, 1).version), 0) is Plan.SEED


def test_what_carts_has_is_not() -> None:
    assert plan(grow(CART, 2), grow(CART, 2), 0) is Plan.THERE
    assert plan(grow(CART, 2), grow(CART, 3), 0) is Plan.THERE
    assert plan(grow(CART, 3, first=EARLIER), long_lived(CART), 0) is Plan.THERE


def test_what_was_deleted_stays_deleted() -> None:
    state = grow(CART, 2)
    assert plan(state, Deleted(state.version), 0) is Plan.DELETED
    assert plan(state, None, state.version_number) is Plan.DELETED


def test_a_cart_begun_anew_is_refused_if_the_union_would_lose_its_history() -> None:
    anew = begun_anew(CART)
    assert plan(grow(CART, 2), anew, 0) is Plan.SEED
    for with_history in (grow(CART, 3, first=EARLIER), long_lived(CART)):
        assert trim(union(anew, with_history)).operation_count < with_history.operation_count, (
            "the history would be lost"
        )
        assert plan(with_history, anew, 0) is Plan.CONFLICT


def test_what_has_left_the_window_since_carts_lost_it_is_no_seed_and_is_not_there() -> None:
    row, lost_its_end = grow(CART, 3, first=EARLIER), grow(CART, 1, first=EARLIER)
    went_on = fold(lost_its_end, add(CART, 9)).state
    assert went_on is not None
    assert trim(union(went_on, row)) == went_on, "the row has more, and the union does not say so"
    assert plan(row, went_on, 0) is Plan.CONFLICT


def test_another_cart_of_the_same_version_is_named() -> None:
    row = grow(CART, 2)
    erased = msgspec.structs.replace(row, erased=row.version_number - 1, trimmed_digest=1)
    assert plan(row, erased, 0) is Plan.DIFFERS


@pytest.mark.parametrize("state", [grow(CART, 2), long_lived(CART), expire(CART, grow(CART, 2))])
def test_compaction_folds_a_seed_to_the_very_state(state: State) -> None:
    tree = _tree(state)
    change = decode_change(encode_change(seed(CART, state, tree)))
    outcome = fold(None, change)
    assert outcome.state == state
    assert fold(state, change).state == state
    later = fold(state, add(CART, 9)).state
    assert fold(later, change).state == later


@pytest.mark.usefixtures("compaction")
async def test_empty_topics_get_the_same_states_back(
    command_line: CommandLine, kafka: KafkaSettings, database: str
) -> None:
    carts = [new_cart_id() for _ in range(20)]
    states = {cart_id: grow(cart_id, 1 + number % 3) for number, cart_id in enumerate(carts[:-2])}
    states[carts[-2]] = long_lived(carts[-2])
    states[carts[-1]] = expire(carts[-1], grow(carts[-1], 2))
    await write_rows(database, states)

    dry = await command_line.run("restore", "--from", "postgres", "--dry-run")
    assert dry.status == 0
    assert "20 rows to seed" in dry.output
    assert await changes_published(kafka) == 0

    done = await command_line.run("restore", "--from", "postgres")
    assert done.status == 0
    assert await changes_published(kafka) == 20

    async def the_same() -> bool:
        return await states_in_carts(kafka, carts) == states

    await until(the_same, "the same states in carts")
    again = await command_line.run("restore", "--from", "postgres")
    assert "20 rows that Kafka has already" in again.output
    assert await changes_published(kafka) == 20


@pytest.mark.usefixtures("compaction")
async def test_seeds_unite_with_what_shoppers_did_meanwhile(
    command_line: CommandLine, topics: TopicWriter, kafka: KafkaSettings, database: str
) -> None:
    cart_id, lost = new_cart_id(), new_cart_id()
    await write_rows(database, {cart_id: grow(cart_id, 2), lost: grow(lost, 3, first=EARLIER)})
    for each in (cart_id, lost):
        await topics.change(add(each, 5))

    async def begun() -> bool:
        return len(await states_in_carts(kafka, [cart_id, lost])) == 2

    await until(begun, "both carts begun anew")
    answer = await command_line.run("restore", "--from", "postgres")
    assert answer.status == 1
    assert f"refused (conflict): {lost}" in answer.errors

    async def united() -> bool:
        state = await state_in_carts(kafka, cart_id)
        return state is not None and [op.op_id for op in state.ops] == ["op-1", "op-2", "op-5"]

    await until(united, "the union in carts")


async def test_what_compaction_does_not_fold_is_named(
    kafka: KafkaSettings, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.seeding.PATIENCE_S", 0.0)
    cart_id = new_cart_id()
    await write_rows(database, {cart_id: grow(cart_id, 2)})
    settings = OpsSettings(
        kafka_bootstrap=kafka.kafka_bootstrap, postgres_url=SecretStr(database), redis_url=redis_url
    )
    seeded = await restore_from_postgres(settings, range(settings.partitions), silent, dry_run=False)
    assert seeded.refused == [(Plan.NOT_FOLDED, cart_id)]


async def test_a_dry_run_without_from_is_a_mistake(command_line: CommandLine) -> None:
    assert (await command_line.run("restore", "--dry-run")).status == 2


async def write_rows(database: str, states: dict[str, State]) -> None:
    """Rows as the sink writes them."""
    rows = [row(cart_id, state) for cart_id, state in states.items()]
    async with CartsTable(Address(database)) as table:
        await table.write(newest(rows))


def _tree(state: State) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
    return tree
