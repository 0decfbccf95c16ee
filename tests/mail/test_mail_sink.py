"""The mail agent's process with real servers on every side: one mail an order, whatever happens to it."""

import asyncio
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from devstack.embedded import EmbeddedStack
from devstack.settings import POSTGRES
from runtime.settings import KafkaSettings
from sinks.mail.message import MailKind, message_id
from tests.mail.kill_loop import kill_loop
from tests.mail.orders import cancelled, new_order, publish
from tests.mail.smtp_server import SmtpServer, ids
from tests.ops.command_line import CommandLine, environment
from tests.support.processes import AgentProcess
from tests.support.topics import TopicReader
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.records import OrderRecord
from topics.registry import ORDERS, PARTITIONS

TASK = """
SELECT outcome, record, attempts, detail FROM post_checkout_tasks
WHERE order_id = %s AND task = %s AND done_at IS NOT NULL
"""

HOLD = "SELECT FROM post_checkout_tasks WHERE order_id = %s FOR UPDATE"


def address(order: OrderRecord) -> str:
    assert order.email is not None
    return order.email


def confirmation_id(order: OrderRecord) -> str:
    return message_id(order.order_id, MailKind.CONFIRMATION, "shop.example")


async def test_each_placed_order_gets_one_confirmation(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    orders = [new_order() for _ in range(20)]
    await agent.start()
    await publish(producer, *orders)
    await until(lambda: _have_mail(smtp, *orders), "a mail for each")
    assert all(ids(smtp.to(address(order))) == [confirmation_id(order)] for order in orders)
    outcome, record, attempts, _ = await _settled(database, orders[0])
    assert (outcome, record, attempts) == ("sent", None, 1)


async def test_an_order_published_again_gets_no_second_mail(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer
) -> None:
    order = new_order()
    await agent.start()
    await publish(producer, order, order)
    await until(lambda: _have_mail(smtp, order), "a mail")
    partition = partition_of(order.order_id.encode(), PARTITIONS)
    later = new_order(partition=partition)
    await publish(producer, order, later)
    await until(lambda: _have_mail(smtp, later), "a mail of what came later")
    assert len(smtp.to(address(order))) == 1


async def test_an_order_without_an_address_gets_none_and_a_cancelled_one_a_notice(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer
) -> None:
    silent, order = new_order(), new_order()
    await agent.start()
    await publish(producer, _without_address(silent), order, cancelled(order))
    await until(lambda: _count(smtp, order, 2), "two mails")
    confirmation, notice = smtp.to(address(order))
    assert confirmation["Subject"] == "Your order at Cartstream demo shop"
    assert notice["Subject"] == "Your order at Cartstream demo shop has been cancelled"
    assert smtp.to(address(silent)) == []


async def test_a_kill_between_the_servers_word_and_the_note_of_it_repeats_the_same_mail(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    """The one window in which at-least-once shows: the copy has the Message-ID of the first."""
    order = new_order()
    smtp.silent = True
    await agent.start()
    await publish(producer, order)
    await until(lambda: _have_mail(smtp, order), "a mail that the server has")
    agent.kill()
    smtp.silent = False
    await agent.start()
    await _settled(database, order)
    assert ids(smtp.to(address(order))) == [confirmation_id(order)] * 2


async def test_a_kill_after_the_servers_250_repeats_the_same_mail_only_if_the_note_was_lost_too(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    order = new_order()
    smtp.silent = True
    await agent.start()
    await publish(producer, order)
    await until(lambda: _have_mail(smtp, order), "a mail that the server has")
    async with await psycopg.AsyncConnection.connect(database) as holder:
        await holder.execute(HOLD, (order.order_id,))
        smtp.silent = False
        smtp.answer_now()
        await until(lambda: _is_writing(database), "a note that waits")
        agent.kill()
        await until(lambda: _nobody_is_writing(database), "a note that the database has given up")
    await agent.start()
    await _settled(database, order)
    assert ids(smtp.to(address(order))) == [confirmation_id(order)] * 2


async def test_a_kill_after_the_note_repeats_nothing(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    order = new_order()
    await agent.start()
    await publish(producer, order)
    await _settled(database, order)
    agent.kill()
    later = new_order(partition=partition_of(order.order_id.encode(), PARTITIONS))
    await agent.start()
    await publish(producer, later)
    await until(lambda: _have_mail(smtp, later), "a mail of what came later")
    assert len(smtp.to(address(order))) == 1


async def test_a_table_that_cannot_be_written_for_a_moment_repeats_nothing(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    order = new_order()
    smtp.silent = True
    await agent.start()
    await publish(producer, order)
    await until(lambda: _have_mail(smtp, order), "a mail that the server has")
    async with await psycopg.AsyncConnection.connect(database) as holder:
        await holder.execute(HOLD, (order.order_id,))
        smtp.silent = False
        smtp.answer_now()
        await until(lambda: _is_writing(database), "a note that waits")
    await _settled(database, order)
    assert len(smtp.to(address(order))) == 1


@pytest.mark.drill
async def test_across_kills_every_order_is_confirmed_and_copies_are_copies(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    outcome = await kill_loop(agent, smtp, producer, database, kills=4)
    assert outcome.lost == 0, outcome
    # Four mails at most are on their way when the agent dies.
    assert outcome.copies <= 4 * outcome.kills, outcome


async def test_a_graceful_stop_lets_the_mail_in_flight_end(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    order = new_order()
    smtp.silent = True
    await agent.start()
    await publish(producer, order)
    await until(lambda: _have_mail(smtp, order), "a mail that the server has")
    stopping = asyncio.create_task(agent.stop())
    await until(lambda: _is_not_ready(agent), "a stop that has begun")
    smtp.silent = False
    smtp.answer_now()
    assert await stopping == 0
    assert (await _settled(database, order))[0] == "sent"


async def test_a_refused_recipient_becomes_a_dead_letter_and_keeps_nobody_waiting(
    agent: AgentProcess,
    smtp: SmtpServer,
    producer: AIOKafkaProducer,
    database: str,
    dead_letters: TopicReader,
) -> None:
    refused = new_order()
    other = new_order(partition=partition_of(refused.order_id.encode(), PARTITIONS))
    smtp.to_answer[address(refused)] = ["550 5.1.1 no such mailbox"]
    await agent.start()
    (sent, _) = await publish(producer, refused, other)
    await until(lambda: _have_mail(smtp, other), "a mail for the other")
    outcome, _, _, detail = await _settled(database, refused)
    assert outcome == "refused"
    assert "no such mailbox" in detail
    letter = dict((await dead_letters.first(refused.order_id)).headers)
    assert letter["dlq_error_code"] == b"mail_refused"
    assert letter["dlq_source_topic"] == ORDERS.name.encode()
    assert letter["dlq_source_offset"] == str(sent.offset).encode()
    assert smtp.to(address(refused)) == []


async def test_a_refused_mail_is_sent_once_an_operator_replays_its_letter(
    agent: AgentProcess,
    smtp: SmtpServer,
    producer: AIOKafkaProducer,
    dead_letters: TopicReader,
    kafka: KafkaSettings,
    redis_url: str,
    database: str,
) -> None:
    order = new_order()
    smtp.to_answer[address(order)] = ["550 5.7.1 relaying denied"]
    await agent.start()
    await publish(producer, order)
    letter = await dead_letters.first(order.order_id)
    await _settled(database, order)
    command_line = CommandLine(environment(kafka.kafka_bootstrap, redis_url, database))
    for _ in range(2):
        answer = await command_line.run("dlq", "replay", f"{letter.partition}:{letter.offset}")
        assert answer.status == 0, answer.errors
    await until(lambda: _have_mail(smtp, order), "a mail after all")
    assert len(smtp.to(address(order))) == 1


async def test_a_mailbox_that_is_full_for_now_is_tried_again_and_keeps_nobody_waiting(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    full = new_order()
    other = new_order(partition=partition_of(full.order_id.encode(), PARTITIONS))
    refusals = ["452 4.2.2 mailbox full"] * 100
    smtp.to_answer_data[address(full)] = refusals
    await agent.start()
    await publish(producer, full, other)
    await until(lambda: _have_mail(smtp, other), "a mail for the other")
    await until(lambda: len(refusals) < 100, "a first attempt")
    assert smtp.to(address(full)) == []
    refused = 100 - len(refusals)
    refusals.clear()
    outcome, _, attempts, _ = await _settled(database, full)
    assert (outcome, attempts) == ("sent", refused + 1)
    assert len(smtp.to(address(full))) == 1


async def test_an_address_gets_no_more_mails_about_orders_in_a_day_than_it_may(
    agent: AgentProcess,
    smtp: SmtpServer,
    producer: AIOKafkaProducer,
    database: str,
    dead_letters: TopicReader,
) -> None:
    email = address(new_order())
    first, second = new_order(email), new_order(email.upper())
    third = new_order(email)
    await agent.start(CARTSTREAM_ORDER_MAILS_PER_DAY="2")
    await publish(producer, first, second)
    await until(lambda: _all_settled(database, first, second), "both mails")
    other = new_order()
    await publish(producer, third, other)
    letter = dict((await dead_letters.first(third.order_id)).headers)
    assert letter["dlq_error_code"] == b"too_many_mails"
    assert (await _settled(database, third))[0] == "refused"
    await until(lambda: _have_mail(smtp, other), "a mail to another address")
    # The day is over, and somebody has replayed it.
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("UPDATE order_mails_a_day SET day = day - 1")
    await publish(producer, third)
    await until(lambda: _count(smtp, third, 2), "a mail on the next day")
    assert ids(smtp.to(email)) == [confirmation_id(first), confirmation_id(third)]


async def test_what_is_no_address_becomes_a_dead_letter(
    agent: AgentProcess, producer: AIOKafkaProducer, dead_letters: TopicReader
) -> None:
    order = new_order(email="not an address")
    await agent.start()
    await publish(producer, order)
    letter = dict((await dead_letters.first(order.order_id)).headers)
    assert letter["dlq_error_code"] == b"mail_refused"


async def test_while_the_mail_server_is_away_orders_wait_and_use_up_no_attempts(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str
) -> None:
    orders = [new_order() for _ in range(5)]
    await smtp.close()
    await agent.start()
    await publish(producer, *orders)
    await until(lambda: _failed(agent), "a failure to connect")
    await smtp.open()
    await until(lambda: _have_mail(smtp, *orders), "all mails")
    for order in orders:
        _, _, attempts, _ = await _settled(database, order)
        assert attempts == 1


@pytest.mark.embedded
async def test_when_postgres_comes_back_every_order_is_confirmed(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, stack: EmbeddedStack
) -> None:
    orders = [new_order() for _ in range(5)]
    await agent.start()
    postgres = stack.component(POSTGRES)
    await asyncio.to_thread(postgres.kill)
    await publish(producer, *orders)
    await asyncio.to_thread(postgres.start)
    await until(lambda: _have_mail(smtp, *orders), "all mails")


def _without_address(order: OrderRecord) -> OrderRecord:
    return replace(order, email=None)


async def _have_mail(smtp: SmtpServer, *orders: OrderRecord) -> bool:
    return all(smtp.to(address(order)) for order in orders)


async def _count(smtp: SmtpServer, order: OrderRecord, mails: int) -> bool:
    return len(smtp.to(address(order))) == mails


async def _is_not_ready(agent: AgentProcess) -> bool:
    return not agent.ready_file.exists()


async def _failed(agent: AgentProcess) -> bool:
    return await agent.metric("cartstream_mail_sink_failures_total") > 0


async def _settled(url: str, order: OrderRecord) -> tuple[str, str | None, int, str]:
    """Outcome, record, attempts and detail of the order's confirmation, once it is done with."""

    async def find() -> tuple[Any, ...] | None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await (
                await connection.execute(TASK, (order.order_id, MailKind.CONFIRMATION.value))
            ).fetchone()

    row = await until(find, "a settled task")
    assert row is not None
    return row[0], row[1], row[2], row[3]


async def _all_settled(url: str, *orders: OrderRecord) -> bool:
    return [(await _settled(url, order))[0] for order in orders] == ["sent"] * len(orders)


async def _is_writing(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return await cursor.fetchone() is not None


async def _nobody_is_writing(url: str) -> bool:
    return not await _is_writing(url)
