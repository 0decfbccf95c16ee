"""Hand carts to another owner of orders: a token and the lines, then the outcome, however late."""

from datetime import UTC, datetime
from functools import partial

from psycopg.errors import UniqueViolation

from carts.ordering import lines_to_order, rebase, subtraction
from carts.state import State
from carts.view import view
from gateway.checkout import problems as checkout_problems
from gateway.checkout.internal import new_order_id
from gateway.checkout.service import Basis, Steps
from gateway.postgres.database import Connection, Database
from gateway.pricing.pricing import Pricing
from gateway.resilience.deadline import Deadline
from gateway.settings import GatewaySettings
from store.postgres import checkouts, orders
from store.postgres.order_records import Checkout, CheckoutStatus, NewOrder, PlacedOrder, Snapshot
from topics.records import OrderLine, OrderRecord, OrderStatus


class Handover:
    """Opens checkouts, at most one at a time for each cart, and takes in what has become of them.

    The open row is the fence: it stands until the checkout is completed, cancelled or overdue.
    """

    def __init__(self, settings: GatewaySettings, database: Database, pricing: Pricing, steps: Steps) -> None:
        self._settings = settings
        self._database = database
        self._pricing = pricing
        self._steps = steps

    async def open(self, cart_id: str) -> tuple[Checkout, bool]:
        """The cart's open checkout, and whether it is new. Raises Problem, StoreError."""
        deadline = Deadline(self._settings.checkout_deadline_s)
        while True:
            found = await self._database.transact(partial(checkouts.find_open, cart_id=cart_id))
            if found is not None:
                return found, False
            basis = await deadline.bound(self._steps.basis(cart_id, deadline))
            state = checkout_problems.check_may_order(basis.state)
            snapshot = await deadline.bound(self._snapshot(cart_id, state))
            opened = await self._database.transact(
                partial(
                    checkouts.open_one,
                    token=new_order_id(),
                    cart_id=cart_id,
                    snapshot=snapshot,
                    seconds=self._settings.checkout_timeout_s,
                )
            )
            if opened is not None:
                return opened, True

    async def complete(self, cart_id: str, token: str, reference: str | None) -> Checkout:
        """Take what was sold out of the cart, as far as it is still there; the completed checkout.

        Raises Problem, StoreError. Asking again changes nothing.
        """
        deadline = Deadline(self._settings.checkout_deadline_s)
        while True:
            found = await self._find(cart_id, token)
            if found.status is CheckoutStatus.COMPLETED and reference in {None, found.reference}:
                return await self._again(found)
            if found.status in {CheckoutStatus.COMPLETED, CheckoutStatus.CANCELLED}:
                raise checkout_problems.checkout_closed(found.status, found.reference)
            basis = await deadline.bound(self._steps.basis(cart_id, deadline))
            try:
                completed = await deadline.bound(self._write(found, reference or token, basis))
            except UniqueViolation:
                # Another order of the cart has taken the number: look again.
                continue
            if completed is not None:
                checkout, order = completed
                await self._steps.between("placed")
                await self._steps.finish(order, basis.state)
                return checkout

    async def cancel(self, cart_id: str, token: str) -> Checkout:
        """End a checkout that came to nothing. Raises Problem. Asking again changes nothing."""

        async def work(connection: Connection) -> Checkout | None:
            await checkouts.cancel(connection, cart_id, token)
            return await checkouts.find(connection, cart_id, token)

        found = await self._database.transact(work)
        if found is None:
            raise checkout_problems.checkout_not_found()
        if found.status is not CheckoutStatus.CANCELLED:
            raise checkout_problems.checkout_closed(found.status, found.reference)
        return found

    async def _find(self, cart_id: str, token: str) -> Checkout:
        found = await self._database.transact(partial(checkouts.find, cart_id=cart_id, token=token))
        if found is None:
            raise checkout_problems.checkout_not_found()
        return found

    async def _again(self, checkout: Checkout) -> Checkout:
        order = await self._database.transact(partial(orders.find_placed, order_id=checkout.token))
        if order is not None and not order.settled:
            await self._steps.finish(order, None)
        return checkout

    async def _snapshot(self, cart_id: str, state: State) -> Snapshot:
        cart = view(cart_id, state)
        if not cart.lines:
            raise checkout_problems.cart_empty()
        priced = await self._pricing.price(cart)
        return Snapshot(
            version=cart.version,
            currency=cart.currency or "",
            lines=[
                OrderLine(
                    line.line_id,
                    line.product_id,
                    line.quantity,
                    line.unit_price,
                    None,
                    line.options,
                    line.metadata,
                )
                for line in cart.lines
            ],
            totals=priced.totals,
            ordered=list(lines_to_order(state)),
            adjustments=priced.adjustments,
        )

    async def _write(
        self, checkout: Checkout, reference: str, basis: Basis
    ) -> tuple[Checkout, PlacedOrder] | None:
        """Complete the checkout and write its order; None if somebody has ended the checkout before."""
        # Nothing is left in a cart that is gone: then the order takes nothing out of it.
        state = basis.state or State()
        record = _record(checkout, reference, basis.seq)
        order = NewOrder(
            record=record,
            key=None,
            fingerprint=None,
            subtraction=subtraction(record.order_id, rebase(checkout.snapshot.ordered, state), state),
            snapshot_version=state.version_number,
        )

        async def work(connection: Connection) -> Checkout | None:
            completed = await checkouts.complete(connection, checkout.token, reference)
            if completed is not None:
                await orders.insert(connection, order)
            return completed

        completed = await self._database.transact(work)
        if completed is None:
            return None
        return completed, PlacedOrder(
            record=record,
            fingerprint=None,
            subtraction=order.subtraction,
            snapshot_version=order.snapshot_version,
        )


def _record(checkout: Checkout, reference: str, seq: int) -> OrderRecord:
    snapshot = checkout.snapshot
    return OrderRecord(
        order_id=checkout.token,
        cart_id=checkout.cart_id,
        seq=seq,
        status=OrderStatus.PLACED,
        version=1,
        currency=snapshot.currency,
        lines=snapshot.lines,
        totals=snapshot.totals,
        placed_at=datetime.now(UTC),
        adjustments=snapshot.adjustments,
        metadata={"order_id": reference},
    )
