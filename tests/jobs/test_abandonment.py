"""Carts left behind are told of once for each idle period, and so are those taken up again."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest

from carts.details import Details
from carts.fold import fold
from carts.operations import Change, Erase, SetDetails, SetMetadata, Step
from carts.state import State
from carts.view import Totals
from jobs.abandonment import AbandonmentJob
from jobs.settings import JobsSettings
from runtime.recovery import IdlePeriod
from runtime.settings import SettingsError, load
from sinks.postgres.batch import row_of
from store.postgres import abandonments, carts, erasure, orders
from store.postgres.order_records import PlacedOrder
from tests.sinks.cart_records import expire, grow, new_cart_id
from topics.codec import decode_abandonment, encode_cart
from topics.records import (
    AbandonmentKind,
    AbandonmentRecord,
    OrderLine,
    OrderRecord,
    OrderStatus,
    cart_record,
)
from topics.registry import CART_ABANDONED

HOUR = 3_600
EMAIL = "ada@example.org"


def hours_ago(hours: float) -> int:
    """The version number of an operation made then."""
    return 2 * int((time.time() - hours * HOUR) * 1_000_000)


def changed(cart_id: str, state: State, version: int, *steps: Step) -> State:
    """The state after one more change."""
    after = fold(state, Change(cart_id=cart_id, version=version, op_id=f"op-{version}", delta=steps)).state
    assert after is not None
    return after


class Shop:
    """The tables, and the job."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], settings: JobsSettings) -> None:
        self.connection = connection
        self.settings = settings
        links = settings.links
        assert links is not None
        self.links = links
        self.job = AbandonmentJob(settings, links)

    async def row(self, cart_id: str, state: State) -> State:
        """Write the row as the sink does."""
        await carts.upsert(self.connection, [row_of(cart_id, encode_cart(cart_record(cart_id, state)))])
        return state

    async def left(self, hours: float = 4, *steps: Step) -> tuple[str, State]:
        """A cart with a line whose last change is that old."""
        cart_id = new_cart_id()
        state = grow(cart_id, 1, first=hours_ago(hours + 1))
        return cart_id, await self.row(
            cart_id, changed(cart_id, state, hours_ago(hours), *(steps or (SetMetadata({}),)))
        )

    async def round(self) -> Counter[AbandonmentKind]:
        """One round of the job."""
        return await self.job.round(self.connection)

    async def records(self, cart_id: str) -> list[AbandonmentRecord]:
        """What stands in the outbox about the cart."""
        cursor = await self.connection.execute(
            "SELECT value FROM outbox WHERE topic = %s AND key = %s ORDER BY outbox_id",
            (CART_ABANDONED.name, cart_id),
        )
        return [decode_abandonment(value.encode()) for (value,) in await cursor.fetchall()]

    async def mails(self) -> list[abandonments.AbandonmentMail]:
        """The mails that are to be sent."""
        cursor = await self.connection.execute(
            "SELECT record FROM post_checkout_tasks WHERE task = 'abandonment_mail' AND record IS NOT NULL"
        )
        return [abandonments.decode_mail(record.encode()) for (record,) in await cursor.fetchall()]

    async def place_order(self, cart_id: str, order_id: str) -> None:
        """An order of the cart, placed now."""
        record = OrderRecord(
            order_id=order_id,
            cart_id=cart_id,
            seq=1,
            status=OrderStatus.PLACED,
            version=1,
            currency="EUR",
            lines=[OrderLine("cup", "cup", 1, 100)],
            totals=Totals(100, 0, 0, 100),
            placed_at=datetime.now(UTC),
        )
        await orders.insert(self.connection, PlacedOrder(record=record, subtraction=(), snapshot_version=2))


@pytest.fixture
def settings(database: str) -> JobsSettings:
    """The job's, with mails."""
    return JobsSettings(
        postgres_url=database,
        abandoned_after_s=3 * HOUR,
        recovery_keys="k" * 32,
        abandonment_mails=True,
        recovery_url="https://shop.example/recover?token={token}",
        unsubscribe_url="https://carts.example/v1/unsubscribe/{token}",
    )


@pytest.fixture
async def shop(settings: JobsSettings) -> Any:
    """Empty tables and the job."""
    url = settings.postgres_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield Shop(connection, settings)


async def test_an_idle_period_is_told_of_once(shop: Shop) -> None:
    cart_id, state = await shop.left()
    assert await shop.round() == {AbandonmentKind.ABANDONED: 1, AbandonmentKind.RECOVERED: 0}
    assert (await shop.round()).total() == 0
    (record,) = await shop.records(cart_id)
    assert (record.type, record.version_number) == (AbandonmentKind.ABANDONED, state.version_number)
    assert (record.subtotal, record.currency, record.lines[0].quantity) == (3998, "EUR", 2)
    assert shop.links.recovered(record.recovery_token or "") == IdlePeriod(cart_id, state.version_number)


async def test_two_processes_at_once_tell_once(shop: Shop) -> None:
    cart_id, _ = await shop.left()
    url = shop.settings.postgres_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await asyncio.gather(shop.round(), AbandonmentJob(shop.settings, shop.links).round(other))
    assert len(await shop.records(cart_id)) == 1


async def test_young_empty_and_expired_carts_are_not_left_behind(shop: Shop) -> None:
    await shop.left(hours=2)
    cart_id, state = await shop.left()
    await shop.row(cart_id, expire(cart_id, state))
    erased, state = await shop.left()
    await shop.row(erased, changed(erased, state, hours_ago(3.5) + 1, Erase()))
    assert (await shop.round()).total() == 0


async def test_a_change_takes_a_cart_up_again_and_a_new_idle_period_is_another(shop: Shop) -> None:
    cart_id, state = await shop.left(hours=10)
    await shop.round()
    state = await shop.row(cart_id, changed(cart_id, state, hours_ago(5), SetMetadata({"a": 1})))
    await shop.round()
    assert (await shop.round()).total() == 0
    first, recovered, second = await shop.records(cart_id)
    assert (recovered.type, recovered.recovered_by) == (AbandonmentKind.RECOVERED, "changed")
    assert recovered.version_number == first.version_number
    assert (second.type, second.version_number) == (AbandonmentKind.ABANDONED, state.version_number)


async def test_an_expiry_takes_no_cart_up(shop: Shop) -> None:
    cart_id, state = await shop.left()
    await shop.round()
    await shop.row(cart_id, expire(cart_id, state))
    assert (await shop.round()).total() == 0


async def test_an_order_is_told_of_as_one(shop: Shop) -> None:
    cart_id, _ = await shop.left()
    await shop.round()
    order_id = "o_" + "0a" * 16
    await shop.place_order(cart_id, order_id)
    await shop.round()
    recovered = (await shop.records(cart_id))[-1]
    assert (recovered.recovered_by, recovered.order_id) == ("ordered", order_id)


@pytest.mark.parametrize(
    "step", [SetDetails(email=EMAIL), SetMetadata({"email": EMAIL})], ids=["details", "metadata"]
)
async def test_one_mail_goes_to_the_address_that_a_cart_knows(shop: Shop, step: Step) -> None:
    cart_id, state = await shop.left(4, step)
    await shop.left()  # knows none
    await shop.round()
    await shop.round()
    (mail,) = await shop.mails()
    assert (mail.email, mail.period) == (EMAIL, IdlePeriod(cart_id, state.version_number))
    assert shop.links.recovered(mail.recovery_url.rpartition("=")[2]) == mail.period
    assert EMAIL not in msgspec.json.encode((await shop.records(cart_id))[0]).decode()


async def test_no_mail_goes_to_who_has_unsubscribed(shop: Shop) -> None:
    _, state = await shop.left(4, SetDetails(email=EMAIL.upper()))
    assert state.content().details == Details(email=EMAIL.upper())
    address_hash = shop.links.unsubscribed(shop.links.unsubscribe(EMAIL))
    assert address_hash is not None
    await abandonments.suppress(shop.connection, address_hash)
    await shop.round()
    assert await shop.mails() == []


async def test_an_address_gets_no_more_mails_in_a_day_than_it_may(shop: Shop) -> None:
    for _ in range(5):
        await shop.left(4, SetDetails(email=EMAIL))
    await shop.left(4, SetDetails(email=EMAIL.upper()))
    await shop.left(4, SetDetails(email="bob@example.org"))
    assert (await shop.round())[AbandonmentKind.ABANDONED] == 7
    assert sorted(mail.email.lower() for mail in await shop.mails()) == [*[EMAIL] * 3, "bob@example.org"]
    await shop.connection.execute("UPDATE mails_a_day SET day = day - 1")
    await shop.left(4, SetDetails(email=EMAIL))
    await shop.round()
    assert len(await shop.mails()) == 5
    await shop.connection.execute("UPDATE mails_a_day SET day = day - 1")
    await shop.round()
    cursor = await shop.connection.execute("SELECT count(*) FROM mails_a_day")
    assert await cursor.fetchone() == (0,)


async def test_a_mail_that_waits_is_not_wanted_once_the_cart_is_taken_up(shop: Shop) -> None:
    cart_id, state = await shop.left(4, SetDetails(email=EMAIL))
    await shop.round()
    (mail,) = await shop.mails()
    assert await abandonments.is_mail_wanted(shop.connection, mail)
    await shop.row(cart_id, changed(cart_id, state, hours_ago(0), SetMetadata({})))
    await shop.round()
    assert not await abandonments.is_mail_wanted(shop.connection, mail)


async def test_erasing_a_cart_makes_its_links_useless_and_its_mails_empty(shop: Shop) -> None:
    cart_id, state = await shop.left(4, SetDetails(email=EMAIL))
    await shop.round()
    period = IdlePeriod(cart_id, state.version_number)
    assert await abandonments.can_be_recovered(shop.connection, period)
    change = Change(cart_id=cart_id, version=hours_ago(0) + 1, op_id="!erase/1", delta=(Erase(),))
    async with shop.connection.transaction():
        rows, _ = await erasure.erase(shop.connection, change)
    assert (rows.mails, rows.links) == (1, 1)
    assert await shop.mails() == []
    assert not await abandonments.can_be_recovered(shop.connection, period)
    assert not (await erasure.find(shop.connection, cart_id)).exist
    await shop.row(cart_id, changed(cart_id, state, change.version, Erase()))
    assert (await shop.round()).total() == 0


async def test_the_view_counts_by_day_and_currency(shop: Shop) -> None:
    cart_id, state = await shop.left()
    await shop.left()
    await shop.round()
    await shop.row(cart_id, changed(cart_id, state, hours_ago(0), SetMetadata({})))
    await shop.round()
    cursor = await shop.connection.execute(
        "SELECT currency, abandoned, recovered, ordered, value, recovered_value FROM abandonment_daily"
    )
    assert await cursor.fetchall() == [("EUR", 2, 1, 0, 7996, 3998)]


@pytest.mark.parametrize(
    ("told", "variable"),
    [
        ({"CARTSTREAM_ABANDONED_AFTER_S": "60"}, "CARTSTREAM_RECOVERY_KEYS"),
        ({"CARTSTREAM_ABANDONMENT_MAILS": "true"}, "CARTSTREAM_RECOVERY_URL"),
        ({"CARTSTREAM_RECOVERY_URL": "https://shop.example/"}, "CARTSTREAM_RECOVERY_URL"),
    ],
)
def test_what_is_missing_stops_the_start(
    told: dict[str, str], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=variable):
        load(JobsSettings)
