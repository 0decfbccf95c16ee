"""Which dead letters are open: of the topic only what is new is read, and no more is kept than fits."""

from aiokafka import AIOKafkaProducer, TopicPartition

from ops.dead_letter_topic import DeadLetter, DeadLetterId, Handled, Mark, mark_headers
from ops.overview.document import Letters
from ops.overview.letters import DeadLetterWatch, OpenLetters, letters, unread
from ops.settings import OpsSettings
from runtime.kafka.ranges import OffsetRange
from runtime.settings import KafkaSettings
from tests.support.waiting import until
from topics.apply import apply
from topics.cluster import cluster
from topics.registry import DEAD_LETTERS, PARTITIONS

ONE, OTHER = (TopicPartition(DEAD_LETTERS.name, partition) for partition in (0, 1))


def letter(partition: int, offset: int) -> DeadLetter:
    return DeadLetter(
        id=DeadLetterId(partition, offset),
        key=b"user:1",
        value=b"x" * 1000,
        size=1000,
        headers=[("ce_id", b"x")],
        code="invalid",
        detail="",
        topic="cart-changed",
        source_partition="0",
        source_offset="7",
        time=f"2026-11-29T00:00:{offset:02}",
        agent="cartstream-compaction",
    )


def mark(partition: int, offset: int) -> Mark:
    return Mark(DeadLetterId(partition, offset), Handled.DROPPED, "", "")


def ids(open_letters: OpenLetters) -> list[str]:
    return [str(each.letter.id) for each in open_letters.listed()]


def test_those_without_a_mark_are_open_newest_first_and_without_what_is_large() -> None:
    found = OpenLetters()
    for record in (letter(0, 1), letter(1, 5), letter(0, 3), mark(0, 1), None):
        found.take(record)
    assert ids(found) == ["1:5", "0:3"]
    assert [(each.letter.value, each.letter.headers) for each in found.listed()] == [(None, [])] * 2
    found.forget_before(0, 4)
    assert ids(found) == ["1:5"]


def test_of_too_many_the_newest_are_kept_until_there_is_room_again() -> None:
    found = OpenLetters(kept=4)
    for offset in range(6):
        found.take(letter(0, offset))
    assert len(ids(found)) == 4
    assert ids(found)[0] == "0:5"
    assert (found.is_cut, found.misses_some) == (True, False)
    found.take(mark(0, 0))  # one of those that were forgotten
    for offset in (5, 4):
        found.take(mark(0, offset))
    assert found.misses_some


def test_a_look_begins_where_the_last_one_ended_and_reads_so_much_at_most() -> None:
    bounds = {ONE: OffsetRange(10, 30), OTHER: OffsetRange(0, 50)}
    assert unread(bounds, {}, 100) == {ONE: OffsetRange(10, 30), OTHER: OffsetRange(0, 50)}
    assert unread(bounds, {ONE: 25, OTHER: 50}, 100) == {ONE: OffsetRange(25, 30), OTHER: OffsetRange(50, 50)}
    assert unread(bounds, {ONE: 5}, 30) == {ONE: OffsetRange(10, 30), OTHER: OffsetRange(0, 10)}


async def test_the_topic_is_followed_and_begun_anew_when_it_is_another_one(kafka: KafkaSettings) -> None:
    watch = DeadLetterWatch(OpsSettings(kafka_bootstrap=kafka.kafka_bootstrap))
    assert await watch.open() == []
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:

        async def send(headers: list[tuple[str, bytes]], value: bytes | None) -> int:
            sent = await producer.send_and_wait(
                DEAD_LETTERS.name, value, key=b"user:1", partition=3, headers=headers
            )
            return int(sent.offset)

        first = await send([("dlq_error_code", b"invalid")], b"1")
        second = await send([("dlq_error_code", b"not_json")], b"2")
        assert [each.letter.id.offset for each in await watch.open()] == [second, first]
        assert watch.position == 2

        await send(mark_headers(mark(3, first)), None)
        left = await watch.open()
        assert [each.letter.id.offset for each in left] == [second]
        assert letters(left, watch) == Letters(1, {"not_json": 1}, 3, more=False)

    async with cluster(kafka) as there:
        await there.delete([DEAD_LETTERS.name])

        async def gone() -> bool:
            return DEAD_LETTERS.name not in await there.names()

        await until(gone, "the topic gone")
    await apply(kafka, partitions=PARTITIONS, allow_single=True)
    assert await watch.open() == []
    assert watch.position == 0
