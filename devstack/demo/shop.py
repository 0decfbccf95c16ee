"""The demo's shopper: requests to the gateway, and the row in Postgres."""

import json
import secrets
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from devstack.settings import Urls
from runtime.settings import load
from store.postgres.settings import PostgresSettings

REQUEST_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the gateway: status, headers by lower-case name, JSON."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def is_success(self) -> bool:
        """Whether the gateway did what was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class Shop:
    """Where a shopper looks at a product, fills a cart and checks out."""

    def __init__(self, urls: Urls, cart_id: str, product_id: str) -> None:
        self._urls = urls
        self._cart_id = cart_id
        self._product_id = product_id

    def product(self) -> Reply:
        """The product as the shop page has it."""
        return self._request("GET", f"/v1/products/{self._product_id}")

    def cart(self) -> Reply:
        """The cart as the shopper sees it."""
        return self._request("GET", f"/v1/carts/{self._cart_id}")

    def add(self, quantity: int, key: str) -> Reply:
        """Adds the product, with an Idempotency-Key."""
        body = {"product_id": self._product_id, "quantity": quantity}
        return self._request("POST", f"/v1/carts/{self._cart_id}/items", body, key)

    def check_out(self, email: str, key: str) -> Reply:
        """Orders what the cart holds, with an Idempotency-Key."""
        return self._request("POST", f"/v1/carts/{self._cart_id}/checkout", {"email": email}, key)

    def row(self) -> dict[str, Any] | None:
        """The cart's row in Postgres; None as long as there is none."""
        with psycopg.connect(self._urls.postgres, row_factory=psycopg.rows.dict_row) as connection:
            table = sql.Identifier(load(PostgresSettings).postgres_schema, "carts")
            query = sql.SQL("SELECT cart_id, status, subtotal, lines FROM {} WHERE cart_id = %s").format(
                table
            )
            return connection.execute(query, (self._cart_id,)).fetchone()

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None, key: str = "") -> Reply:
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        request = urllib.request.Request(  # noqa: S310  the address is our own gateway's
            self._urls.gateway + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:  # noqa: S310
                return _reply(response.status, response)
        except urllib.error.HTTPError as refusal:
            return _reply(refusal.code, refusal)


def new_key() -> str:
    """An Idempotency-Key: a UUIDv7 (RFC 9562), which says when the first attempt was."""
    stamped = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return str(UUID(int=stamped & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62))


def _reply(status: int, response: Any) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status, headers, json.load(response))
