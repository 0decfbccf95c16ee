"""What happened to a cart: each operation once, a page at a time, and what all stores have of it."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from carts.fold import fold
from carts.merging import Merge, Strategy
from carts.operations import Add, Change, Erase, Item, Set
from carts.view import last_version_of
from cli.carts import tables_of
from cli.tables import print_table
from ops.lookup.found import (
    ABSENT,
    Copy,
    Event,
    Found,
    Past,
    copy_of_record,
    copy_of_redis,
    event_of,
    event_of_record,
)
from ops.lookup.past import LATEST, PastPage, position_of, position_text
from ops.lookup.search import SHOWN
from ops.running import Failed, print_json
from runtime.settings import KafkaSettings
from store.postgres import history, merges
from store.postgres.history import Position
from store.redis import Restoring
from tests.ops.command_line import CommandLine
from tests.ops.states import Changes
from tests.sinks.cart_records import START, TopicWriter, add, grow, new_cart_id
from tests.sinks.restore_fixtures import LAYOUT, Redis
from tests.support.copies import put_copies
from topics.registry import DEAD_LETTERS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "what-happened-to-a-cart.md"


def event(number: int, place: str = "") -> Event:
    return event_of(add("user:1", number), place or f"3/{number}")


def found_of(**known: Any) -> Found:
    """What is found of a cart that no store has, but for `known`."""
    nothing = Found(
        cart_id="user:1",
        partition=0,
        copies=[Copy(store="Redis", note=ABSENT)],
        differences=[],
        waiting=0,
        past=Past(events=[], source=""),
        orders=[],
        merges=[],
        cut=[],
        erased_at=None,
        dead_letters=[],
    )
    return msgspec.structs.replace(nothing, **known)


def before_of(output: str) -> str:
    """What a shell makes of the option that the output names."""
    (line,) = [each for each in output.splitlines() if "--before" in each]
    words = shlex.split(line)
    return words[words.index("--before") + 1]


def ids(past: Past) -> list[str]:
    return [each.op_id for each in past.events]


def test_a_page_has_the_newest_ones_newest_last_and_names_where_the_next_one_ends() -> None:
    seen: list[str] = []
    before: Position = LATEST
    while True:
        page = PastPage(before, 3)
        for number in (1, 2, 9, 4, 3, 5, 6, 8, 7):  # they may have overtaken each other
            page.take(event(number))
        past = page.past("", None)
        seen = ids(past) + seen
        if past.older is None:
            break
        before = position_of(past.older)
    assert seen == [f"op-{number}" for number in range(1, 10)]


def test_an_operation_that_was_published_again_is_one() -> None:
    page = PastPage(LATEST, 3)
    for place in ("3/1", "3/9"):
        page.take(event(1, place))
    (one,) = page.past("", None).events
    assert one.place == "3/1, again 3/9"


def test_a_place_in_the_past_is_read_as_it_was_written() -> None:
    place = Position(3591029498428740, "key:with:colons")
    assert position_of(position_text(place)) == place
    for wrong in ("", "7", "x:y", f"{2**60}:y"):
        with pytest.raises(ValueError, match="what the page before has named"):
            position_of(wrong)


def test_the_page_about_it_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    cart_id, mug = "user:42", Item("mug")
    first = last_version_of(datetime(2026, 11, 29, 2, 15, 7, 412_000, tzinfo=UTC)) - 1
    second = last_version_of(datetime(2026, 11, 29, 2, 15, 31, 90_000, tzinfo=UTC)) - 1
    added = Change(
        cart_id=cart_id,
        version=first,
        op_id="01a22515-ad8a-7c41-9f0e-5b1d2a9c3e77",
        delta=(Add("mug", 2, 990, "EUR", mug),),
        born=first,
        actor=cart_id,
        cause="items.add",
    )
    changed = Change(
        cart_id=cart_id,
        version=second,
        op_id="01a22516-0a0a-7e93-8d24-c60f7b18a452",
        delta=(Set("mug", 1, 990, "EUR", mug),),
        born=first,
        actor=cart_id,
        cause="items.patch",
    )
    copy = copy_of_record(cart_id, fold(fold(None, added).state, changed).state)
    past = Past(
        events=[event_of(added, "13/7"), event_of(changed, "13/9")],
        source="cart-changed/13, offsets 0 to 9,300",
        known_from="2026-11-22T10:02:11+00:00",
    )
    copies = [msgspec.structs.replace(copy, store=store) for store in ("Redis", copy.store, "Postgres")]
    partition = LAYOUT.partition(cart_id)
    print_table(tables_of(found_of(cart_id=cart_id, partition=partition, copies=copies, past=past)))
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    page = PAGE.read_text(encoding="utf-8")
    assert f"$ cartstream carts show {cart_id}\n{printed}\n```" in page


@pytest.mark.parametrize("key", ["a';touch${IFS}x;'", "$(id)|`id`", "plain"])
def test_a_shell_takes_the_next_page_as_it_is_named(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    older = position_text(Position(3591029498428740, key))
    print_table(tables_of(found_of(past=Past(events=[event(1)], source="", older=older))))
    assert before_of(capsys.readouterr().out) == older


def test_what_others_wrote_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    unsafe = "a\x1b]0;b\x9b2J\u202ec\x08\x00[bold]d"
    letter = {"id": "0:1", "code": unsafe, "source": "", "time": "", "handled": "", "detail": unsafe}
    past = Past(events=[event(1, unsafe)], source=unsafe)
    print_table(tables_of(found_of(past=past, dead_letters=[letter])))
    print_json({"detail": unsafe})
    output = capsys.readouterr().out
    assert not set(unsafe) - set("ab]0;2Jcd[ol") & set(output)
    assert output.count("a\\u001b]0;b\\u009b2J\\u202ec") == 5
    assert "\x1b" not in Failed(unsafe).message
    assert output.count("[bold]d") == 5


def test_a_record_that_nobody_can_read_stands_at_its_time() -> None:
    found = event_of_record(b"no JSON", 1_795_514_400_000, "3/7")
    assert found.at == "2026-11-24T10:00:00+00:00"
    assert found.steps[0].startswith("unreadable: ")
    assert found.version == 2_000 * 1_795_514_400_000


def test_a_cart_is_unknown_only_if_nothing_is_found_anywhere() -> None:
    assert not found_of().is_known
    assert not found_of(copies=[copy_of_redis(Restoring())]).is_known
    for known in (
        {"waiting": 1},
        {"past": Past(events=[event(1)], source="")},
        {"copies": [Copy(store="Kafka: carts", note="deleted, at version 2-1-0")]},
        {"dead_letters": [{"id": "0:1"}]},
    ):
        assert found_of(**known).is_known


async def test_all_that_is_known_of_a_cart_is_shown(
    command_line: CommandLine,
    topics: TopicWriter,
    ready: Redis,
    changes: Changes,
    kafka: KafkaSettings,
    database: str,
) -> None:
    cart_id, guest = new_cart_id(), f"guest:{new_cart_id().removeprefix('user:')}"
    for number in (1, 2, 3, 3):
        await topics.change(add(cart_id, number))
    await topics.change(add(new_cart_id(), 1))
    await topics.state(cart_id, grow(cart_id, 3))
    await put_copies(ready.store, LAYOUT.partition(cart_id), [(cart_id, grow(cart_id, 3))])
    assert (await command_line.run("rebuild")).status == 0
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for number in range(SHOWN):
            before = f"guest:{number}-{cart_id.removeprefix('user:')}"
            await merges.begin(connection, Merge(f"m-{before}", before, cart_id, Strategy.SUM))
        await merges.begin(connection, Merge(f"m-{guest}", guest, cart_id, Strategy.SUM))
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        await producer.send_and_wait(
            DEAD_LETTERS.name, b"?", cart_id.encode(), headers=[("dlq_error_code", b"not_json")]
        )
        await producer.send_and_wait(
            DEAD_LETTERS.name, b"?", f"m-{guest}".encode(), headers=[("dlq_error_code", b"escape\x1b[2J")]
        )

    found = await command_line.json("carts", "show", cart_id)
    assert [each["op_id"] for each in found["past"]["events"]] == ["op-1", "op-2", "op-3"]
    assert ", again " in found["past"]["events"][-1]["place"]
    assert found["past"]["known_from"]
    assert found["past"]["older"] is None
    assert {copy["version"] for copy in found["copies"]} == {grow(cart_id, 3).version.tag()}
    assert found["differences"] == []
    assert {
        value for copy in found["copies"] for line in copy["lines"] for value in line["options"].values()
    } == {None}
    assert len(found["merges"]) == SHOWN
    assert found["merges"][-1]["guest"] == guest
    assert found["cut"] == ["merges"]
    assert {each["code"] for each in found["dead_letters"]} == {"not_json", "escape\x1b[2J"}

    listed = await command_line.run("dlq", "list", "--key", f"m-{guest}")
    assert "escape\\u001b[2J " in listed.output

    newest = await command_line.run("carts", "show", cart_id, "--limit", "2")
    assert "op-3" in newest.output
    assert "op-1" not in newest.output
    assert "Ümläut" not in newest.output
    assert "There are older merges" in newest.output
    older = before_of(newest.output)
    rest = await command_line.run("carts", "show", cart_id, "--limit", "2", "--before", older)
    assert "op-1" in rest.output
    assert "There are older ones" not in rest.output

    await changes.raw(cart_id, b"no JSON")
    assert "unreadable" in (await command_line.run("carts", "show", cart_id)).output


@pytest.mark.usefixtures("ready")
async def test_where_there_is_a_history_operations_are_read_there(
    command_line: CommandLine, topics: TopicWriter, database: str
) -> None:
    cart_id = new_cart_id()
    erasure = msgspec.structs.replace(add(cart_id, 2), op_id="!erase", delta=(Erase(),))
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await history.insert(connection, [add(cart_id, 1), erasure])
    await topics.change(add(cart_id, 3, first=START))
    command_line.told["CARTSTREAM_HISTORY"] = "true"

    found = await command_line.json("carts", "show", cart_id)
    assert [each["op_id"] for each in found["past"]["events"]] == ["op-1", "!erase"]
    assert "history" in found["past"]["source"]
    found = await command_line.json("carts", "show", cart_id, "--source", "kafka")
    assert [each["op_id"] for each in found["past"]["events"]] == ["op-3"]


async def test_without_one_store_what_the_others_have_is_shown(
    command_line: CommandLine, topics: TopicWriter, ready: Redis
) -> None:
    cart_id = new_cart_id()
    await topics.state(cart_id, grow(cart_id, 1))
    await put_copies(ready.store, LAYOUT.partition(cart_id), [(cart_id, grow(cart_id, 1))])
    assert (await command_line.run("rebuild")).status == 0
    for variable, address, store in (
        ("CARTSTREAM_REDIS_URL", "redis://127.0.0.1:1/0", "Redis"),
        ("CARTSTREAM_KAFKA_BOOTSTRAP", "127.0.0.1:1", "Kafka: carts"),
        ("CARTSTREAM_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none", "Postgres"),
    ):
        away = CommandLine({**command_line.told, variable: address})
        answer = await away.run("carts", "show", cart_id, "--json")
        assert answer.status == 1
        assert f"not all of {cart_id} is shown: " in answer.errors
        assert {copy["store"] for copy in answer.json["copies"] if copy["note"]} == {store}
        shown = await away.run("carts", "show", cart_id)
        assert shown.output.count(grow(cart_id, 1).version.tag()) == 2
        assert ("Not known." in shown.output.splitlines()) == (store == "Kafka: carts")
        unknown = await away.run("carts", "show", new_cart_id())
        assert unknown.status == 1
        assert " yet: " in unknown.errors
        away.told["CARTSTREAM_HISTORY"] = "true"
        shown = await away.run("carts", "show", cart_id)
        assert ("Not known." in shown.output.splitlines()) == (store == "Postgres")


@pytest.mark.usefixtures("redis")
async def test_during_a_restoration_a_cart_is_not_known_yet(command_line: CommandLine) -> None:
    unknown = await command_line.run("carts", "show", new_cart_id())
    assert unknown.status == 1
    assert "yet. Redis: its partition is being restored. No other store has it" in unknown.errors


@pytest.mark.usefixtures("ready")
async def test_what_cannot_be_shown_says_why(command_line: CommandLine, changes: Changes) -> None:
    assert "user:<id>" in (await command_line.run("carts", "show", "basket-7")).errors
    no_history = await command_line.run("carts", "show", "user:1", "--source", "history")
    assert "CARTSTREAM_HISTORY" in no_history.errors
    assert (await command_line.run("carts", "show", "user:1", "--before", "x")).status == 2

    cart_id = new_cart_id()
    unknown = await command_line.run("carts", "show", cart_id)
    assert unknown.status == 1
    assert f"nothing is known of {cart_id}" in unknown.errors
    await changes.raw("user:another", b"?", partition=LAYOUT.partition(cart_id))
    assert ", since 20" in (await command_line.run("carts", "show", cart_id)).errors
