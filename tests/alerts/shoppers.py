"""Shoppers who go on adding and reading, whatever they are answered."""

import threading
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import httpx

PRODUCT: Final = "espresso-cup"
_PAUSE_S: Final = 0.1
_ADDS_PER_CART: Final = 50


class Shoppers:
    """A thread that sends a few requests a second for as long as its context lasts."""

    def __init__(self, gateway: str) -> None:
        self._http: Final = httpx.Client(base_url=gateway, timeout=30, verify=False)
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._shop, name="shoppers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._http.close()

    def _shop(self) -> None:
        while True:
            cart_id = f"user:{uuid4()}"
            for _ in range(_ADDS_PER_CART):
                if self._over.wait(_PAUSE_S):
                    return
                try:
                    add(self._http, cart_id)
                    self._http.get(f"/v1/carts/{cart_id}")
                except httpx.HTTPError:
                    continue  # the gateway is being started again


def add(http: httpx.Client, cart_id: str) -> httpx.Response:
    """Put one cup into the cart."""
    return http.post(
        f"/v1/carts/{cart_id}/items",
        json={"product_id": PRODUCT, "quantity": 1},
        headers={"idempotency-key": uuid4().hex},
    )


def order(http: httpx.Client, cart_id: str) -> httpx.Response:
    """Order what is in the cart."""
    return http.post(
        f"/v1/carts/{cart_id}/checkout",
        json={"email": f"{uuid4().hex}@example.org"},
        headers={"idempotency-key": uuid4().hex},
    )
