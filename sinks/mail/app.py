"""The Faust app that mails what happened to orders: records in, tasks in Postgres, mails out.

A record of `orders` is acknowledged once its mail is a row in Postgres. What the mail server does with a mail
then keeps no record waiting: not those of its partition, nor those of others.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from faust.types import StreamT

from delivery.app import DeliveryApp, create_app
from delivery.consumption import run_batches
from delivery.runs import RunLimits
from sinks.data_errors import is_data_error
from sinks.mail.dispatcher import MailDispatcher
from sinks.mail.message import kind_of
from sinks.mail.settings import MailSinkSettings
from sinks.mail.tasks import MailTasks, NewMail
from topics.codec import decode_order
from topics.errors import RecordError, RecordErrorCode
from topics.groups import MAIL_SINK
from topics.partitioner import partition_of
from topics.registry import ORDERS

log = structlog.get_logger(__name__)

BATCH_RECORDS = 500
BATCH_SECONDS = 0.1


def create_mail_app(settings: MailSinkSettings) -> DeliveryApp:
    """The app of the process `sinks mail`. Connects to nothing yet."""
    app = create_app(MAIL_SINK, settings, RunLimits(records=BATCH_RECORDS))
    # Two connections: recording and sending must not wait for each other.
    recorded, claimed = (MailTasks(settings.postgres_address, settings.mail_retry_s) for _ in range(2))
    dispatcher = MailDispatcher(settings, claimed, app.dead_letters.keep)

    @app.agent(app.source(ORDERS.name), name="record_mails")
    async def record_mails(stream: StreamT[Any]) -> None:
        await run_batches(
            stream,
            partial(record, recorded, dispatcher),
            partition_of=partial(partition_of, partitions=settings.partitions_of(ORDERS.name)),
            is_data_error=is_data_error,
            within_s=BATCH_SECONDS,
        )

    app.task(dispatcher.run)
    return app


async def record(tasks: MailTasks, dispatcher: MailDispatcher, records: Sequence[ConsumerRecord]) -> None:
    """Record the mails that the records ask for, all or nothing. Idempotent.

    Raises RecordError for an unreadable record, psycopg.Error or TimeoutError when Postgres refuses
    or does not answer.
    """
    new = await tasks.record(list(_mails(records)))
    if new:
        dispatcher.wake()
    log.debug("mail.recorded", records=len(records), new=new)


def _mails(records: Iterable[ConsumerRecord]) -> Iterable[NewMail]:
    for said in records:
        order = decode_order(said.value)
        if order.order_id.encode() != said.key:
            raise RecordError(RecordErrorCode.INVALID, f"key {said.key!r}, order {order.order_id!r}")
        if (kind := kind_of(order)) is not None:
            yield NewMail(order.order_id, kind, said.value.decode(), said.partition, said.offset)
