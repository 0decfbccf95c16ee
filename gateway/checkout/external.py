"""Check out a cart for another owner of orders: open with a token and the lines, then complete or cancel.

`complete` takes the same steps as an internal checkout after the owner's sale: snapshot, order transaction,
subtract, reply. It may come late, long after the checkout has expired.
"""

from datetime import UTC, datetime
from functools import partial

from psycopg.errors import UniqueViolation

from carts.ordering import lines_to_order, rebase, subtraction
from carts.state import State
from gateway.checkout import problems
from gateway.checkout.decisions import (
    cart_to_order,
    check_may_order,
    check_priced,
    check_total,
    check_version,
    differences,
    order_lines,
)
from gateway.checkout.service import (
    CheckoutCarts,
    Overtaken,
    Snapshot,
    check_not_overtaken,
    new_order_id,
)
from gateway.http.conditions import NO_PRECONDITIONS, Preconditions
from gateway.metrics import Metrics
from gateway.postgres.database import Connection, Database
from gateway.pricing.problems import catalogue_restoring
from gateway.pricing.service import Pricing
from gateway.resilience.deadline import Deadline
from gateway.settings import GatewaySettings
from store.postgres import checkouts, orders
from store.postgres.order_records import Checkout, CheckoutStatus, PlacedOrder, PricedSnapshot
from store.redis.catalogue import CacheNotReady
from topics.records import OrderRecord, OrderStatus


class ExternalCheckouts:
    """Opens checkouts, at most one at a time for each cart, and records how they end.

    The open row is the checkout lock: it is held until the checkout is completed, cancelled or overdue.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        pricing: Pricing,
        carts: CheckoutCarts,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._seconds = metrics.checkout_stage_seconds
        self._database = database
        self._pricing = pricing
        self._carts = carts

    async def open(
        self,
        cart_id: str,
        expected_total: int | None,
        preconditions: Preconditions = NO_PRECONDITIONS,
    ) -> tuple[Checkout, bool]:
        """The cart's open checkout, and whether it is new.

        Raises Problem, also when it does not come to `expected_total` (minor units; None: any); StoreError.
        """
        deadline = Deadline(self._settings.checkout_deadline_s)
        while True:
            with self._seconds.labels("replay").time():
                found = await self._database.transact(partial(checkouts.find_open, cart_id=cart_id))
            if found is not None:
                check_version(preconditions, found.snapshot.version)
                check_total(expected_total, found.snapshot.totals.total, found.snapshot.currency)
                return found, False
            state, priced = await self._priced_snapshot(cart_id, expected_total, deadline)
            check_version(preconditions, priced.version)
            try:
                with self._seconds.labels("order").time():
                    opened = await self._database.transact(
                        partial(self._open, cart_id=cart_id, state=state, priced=priced)
                    )
            except Overtaken:
                continue
            if opened is not None:
                return opened, True

    async def complete(self, cart_id: str, token: str, reference: str | None) -> Checkout:
        """Take what was sold out of the cart, as far as it is still there; the completed checkout.

        Asking again changes nothing. Raises Problem, StoreError.
        """
        deadline = Deadline(self._settings.checkout_deadline_s)
        while True:
            found = await self._find(cart_id, token)
            # 1. Replay.
            if found.status is CheckoutStatus.COMPLETED and reference in {None, found.reference}:
                await self._replay(found)
                return found
            if found.status in {CheckoutStatus.COMPLETED, CheckoutStatus.CANCELLED}:
                raise problems.checkout_closed(found.status, found.reference)
            # 2. Snapshot.
            snapshot = await self._carts.snapshot(cart_id, deadline)
            # 3. Order transaction.
            order = _order(found, reference or token, snapshot)
            try:
                with self._seconds.labels("order").time():
                    completed = await deadline.bound(
                        self._database.transact(
                            partial(
                                _write, order=order, reference=reference or token, snapshot=snapshot.state
                            )
                        )
                    )
            except (UniqueViolation, Overtaken):
                # Another order of the cart has taken the number, or a merge the lines: look again.
                continue
            if completed is not None:
                # 4. Subtract.
                await self._carts.subtract(order, snapshot.state)
                # 5. Reply.
                return completed

    async def cancel(self, cart_id: str, token: str) -> Checkout:
        """End a checkout that sold nothing. Asking again changes nothing. Raises Problem."""

        async def transaction(connection: Connection) -> Checkout | None:
            await checkouts.cancel(connection, cart_id, token)
            return await checkouts.find(connection, cart_id, token)

        found = await self._database.transact(transaction)
        if found is None:
            raise problems.checkout_not_found()
        if found.status is not CheckoutStatus.CANCELLED:
            raise problems.checkout_closed(found.status, found.reference)
        return found

    async def _open(
        self, connection: Connection, cart_id: str, state: State, priced: PricedSnapshot
    ) -> Checkout | None:
        await check_not_overtaken(connection, cart_id, state)
        return await checkouts.open_one(
            connection,
            token=new_order_id(),
            cart_id=cart_id,
            snapshot=priced,
            seconds=self._settings.checkout_timeout_s,
        )

    async def _find(self, cart_id: str, token: str) -> Checkout:
        with self._seconds.labels("replay").time():
            found = await self._database.transact(partial(checkouts.find, cart_id=cart_id, token=token))
        if found is None:
            raise problems.checkout_not_found()
        return found

    async def _replay(self, checkout: Checkout) -> None:
        order = await self._database.transact(partial(orders.find_placed, order_id=checkout.token))
        if order is not None and not order.settled:
            await self._carts.subtract(order)

    async def _priced_snapshot(
        self, cart_id: str, expected_total: int | None, deadline: Deadline
    ) -> tuple[State, PricedSnapshot]:
        snapshot = await self._carts.snapshot(cart_id, deadline)
        state = check_may_order(snapshot.state)
        cart = cart_to_order(cart_id, state)
        with self._seconds.labels("price").time():
            priced = await deadline.bound(self._pricing.price(cart))
        check_priced(priced, expected_total)
        known = await deadline.bound(self._pricing.facts(cart))
        if isinstance(known, CacheNotReady):
            # Nobody can say whether prices or stock have changed.
            raise catalogue_restoring()
        found = [] if known is None else differences(cart, known)
        if found:
            raise problems.cart_outdated(found, priced.totals.total, cart.currency)
        check_total(expected_total, priced.totals.total, cart.currency)
        names = {name: facts.name for name, facts in (known or {}).items() if facts is not None}
        return state, PricedSnapshot(
            version=cart.version,
            currency=cart.currency or "",
            lines=order_lines(cart, names),
            totals=priced.totals,
            ordered=list(lines_to_order(state)),
            adjustments=priced.adjustments,
            details=cart.details,
        )


async def _write(
    connection: Connection, order: PlacedOrder, reference: str, snapshot: State | None
) -> Checkout | None:
    """Complete the checkout and write its order; None if it was completed or cancelled before.

    Raises psycopg.errors.UniqueViolation when the order's number is taken, Overtaken by a merge.
    """
    await check_not_overtaken(connection, order.record.cart_id, snapshot)
    completed = await checkouts.complete(connection, order.record.order_id, reference)
    if completed is not None:
        await orders.insert(connection, order)
    return completed


def _order(checkout: Checkout, reference: str, snapshot: Snapshot) -> PlacedOrder:
    """The order of a checkout, clipped to what `snapshot` still has of the lines that were sold."""
    # A cart that is gone has nothing left: its order takes nothing out of it.
    state = snapshot.state or State()
    sold = checkout.snapshot
    record = OrderRecord(
        order_id=checkout.token,
        cart_id=checkout.cart_id,
        seq=snapshot.order_number,
        status=OrderStatus.PLACED,
        version=1,
        currency=sold.currency,
        lines=sold.lines,
        totals=sold.totals,
        placed_at=datetime.now(UTC),
        adjustments=sold.adjustments,
        email=sold.details.email,
        details=sold.details,
        metadata={"order_id": reference},
    )
    return PlacedOrder(
        record=record,
        subtraction=subtraction(record.order_id, rebase(sold.ordered, state), state),
        snapshot_version=state.version_number,
    )
