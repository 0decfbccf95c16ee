"""Kills the mail agent with -9 again and again while it sends, then counts the mails of every order.

    python -m tests.mail.kill_loop --kills 20

Orders come all the time, and the mail server takes some milliseconds for each mail, so that kills meet mails
on their way. Starts servers of its own.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import psycopg
from aiokafka import AIOKafkaProducer

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA, POSTGRES
from runtime.settings import KafkaSettings
from sinks.mail.message import MailKind, message_id
from store.postgres.migrate import migrate
from store.postgres.session import Address
from tests.mail.orders import new_order, publish
from tests.mail.smtp_server import SmtpServer, running_smtp_server
from tests.support.processes import AgentProcess, sink_process
from tests.support.waiting import until
from topics.apply import apply
from topics.registry import PARTITIONS

DOMAIN = "shop.example"
ANSWER_SECONDS = 0.02
BACKLOG = 200
"""Orders that are waiting for their mail at most."""
IMPATIENT = {"CARTSTREAM_SMTP_TIMEOUT_S": "5", "CARTSTREAM_MAIL_RETRY_S": "6"}


class Outcome(msgspec.Struct):
    """What the loop showed. `copies`: mails beyond the first of an order; `strange`: of no order."""

    kills: int = 0
    orders: int = 0
    mails: int = 0
    lost: int = 0
    copies: int = 0
    strange: int = 0
    seconds: float = 0.0


def agent_for(bootstrap: str, database: str, smtp: SmtpServer, folder: Path) -> AgentProcess:
    """The agent's process, impatient for the tests' sake."""
    return sink_process(
        "mail",
        {
            "CARTSTREAM_KAFKA_BOOTSTRAP": bootstrap,
            "CARTSTREAM_POSTGRES_URL": database,
            "CARTSTREAM_SMTP_PORT": str(smtp.port),
            "CARTSTREAM_MAIL_FROM": f"Cup & Co <orders@{DOMAIN}>",
            **IMPATIENT,
        },
        folder,
    )


async def kill_loop(
    agent: AgentProcess, smtp: SmtpServer, producer: AIOKafkaProducer, database: str, kills: int
) -> Outcome:
    """Kill the agent this often, each time in the middle of some mails; then let it finish."""
    outcome, began, dice = Outcome(), time.monotonic(), random.Random(3)
    smtp.answers_after_s = ANSWER_SECONDS
    order_ids: list[str] = []

    async def order_on() -> None:
        while True:
            if len(order_ids) < len(smtp.mails) + BACKLOG:
                batch = [new_order() for _ in range(10)]
                order_ids.extend(order.order_id for order in batch)
                await asyncio.shield(publish(producer, *batch))
            await asyncio.sleep(0.1)

    ordering = asyncio.create_task(order_on())
    try:
        for _ in range(kills):
            await agent.start()
            mails = len(smtp.mails) + dice.randint(3, 40)
            await until(lambda mails=mails: _has(smtp, mails), "some mails")  # type: ignore[misc]
            agent.kill()
            outcome.kills += 1
    finally:
        ordering.cancel()
        with suppress(asyncio.CancelledError):
            await ordering
    await agent.start()
    await until(lambda: _all_settled(database, order_ids), "every order settled", within_s=300.0)
    seen = Counter(str(mail["Message-ID"]) for mail in smtp.mails)
    expected = {message_id(order_id, MailKind.CONFIRMATION, DOMAIN) for order_id in order_ids}
    outcome.orders, outcome.mails = len(order_ids), len(smtp.mails)
    outcome.lost = len(expected - seen.keys())
    outcome.strange = len(seen.keys() - expected)
    outcome.copies = sum(count - 1 for count in seen.values())
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _has(smtp: SmtpServer, mails: int) -> bool:
    return len(smtp.mails) >= mails


async def _all_settled(url: str, order_ids: list[str]) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM post_checkout_tasks WHERE outcome = 'sent' AND order_id = ANY(%s)",
            (order_ids,),
        )
        row = await cursor.fetchone()
    return row is not None and row[0] == len(order_ids)


async def _main(stack: EmbeddedStack, folder: Path, kills: int) -> Outcome:
    kafka = KafkaSettings(kafka_bootstrap=stack.urls.kafka_bootstrap)
    await apply(kafka, partitions=PARTITIONS, allow_single=True)
    async with (
        running_smtp_server() as smtp,
        AIOKafkaProducer(**kafka.client_options(), acks="all") as producer,
    ):
        agent = agent_for(kafka.kafka_bootstrap, stack.urls.postgres, smtp, folder)
        try:
            return await kill_loop(agent, smtp, producer, stack.urls.postgres, kills)
        finally:
            agent.kill()


def main() -> int:
    """Run the loop; 0 if no mail was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with (
        tempfile.TemporaryDirectory(prefix="cartstream-mail-") as folder,
        EmbeddedStack(Path(folder), only=(KAFKA, POSTGRES)) as stack,
    ):
        migrate(Address(stack.urls.postgres))
        outcome = asyncio.run(_main(stack, Path(folder), kills))
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcome)) + "\n")
    return 1 if outcome.lost or outcome.strange else 0


if __name__ == "__main__":
    sys.exit(main())
