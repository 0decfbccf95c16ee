"""The two things the gateway is measured against: a bare Sanic route, and carts the monolith's way.

The monolith writes and reads one Postgres row per line, with a commit per add.
Run as `python -m benchmarks.baseline bare|monolith PORT`; the monolith takes CARTSTREAM_POSTGRES_URL.
"""

import os
import sys
from typing import Any

import msgspec
from psycopg_pool import AsyncConnectionPool
from sanic import Request, Sanic
from sanic.response import HTTPResponse, json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS monolith_cart_items (
    cart_id text NOT NULL, product_id text NOT NULL, quantity integer NOT NULL, unit_price bigint NOT NULL,
    PRIMARY KEY (cart_id, product_id))
"""
_ADD = """
INSERT INTO monolith_cart_items (cart_id, product_id, quantity, unit_price) VALUES (%s, %s, %s, %s)
ON CONFLICT (cart_id, product_id) DO UPDATE
SET quantity = monolith_cart_items.quantity + excluded.quantity, unit_price = excluded.unit_price
RETURNING quantity
"""
_READ = "SELECT product_id, quantity, unit_price FROM monolith_cart_items WHERE cart_id = %s"


class AddBody(msgspec.Struct):
    """The body that the gateway's add takes, too."""

    product_id: str
    quantity: int
    unit_price: int
    currency: str


def bare_app() -> Sanic[Any, Any]:
    """One route that parses a JSON body and answers with JSON, and one that only answers."""
    app: Sanic[Any, Any] = Sanic("bare", configure_logging=False)
    decode = msgspec.json.Decoder(AddBody).decode

    @app.post("/v1/carts/<cart_id>/items")
    async def add(request: Request, cart_id: str) -> HTTPResponse:
        body = decode(request.body)
        return json({"cart_id": cart_id, "product_id": body.product_id, "quantity": body.quantity})

    @app.get("/v1/carts/<cart_id>")
    async def read(_: Request, cart_id: str) -> HTTPResponse:
        return json({"cart_id": cart_id, "lines": []})

    return app


def monolith_app(postgres_url: str) -> Sanic[Any, Any]:
    """Carts as rows: an upsert and a commit per add, a select per read."""
    app: Sanic[Any, Any] = Sanic("monolith", configure_logging=False)
    decode = msgspec.json.Decoder(AddBody).decode
    pool = AsyncConnectionPool(postgres_url, min_size=16, max_size=16, open=False)

    @app.before_server_start
    async def connect(_: Sanic[Any, Any]) -> None:
        await pool.open(wait=True)
        async with pool.connection() as connection:
            await connection.execute(_SCHEMA)

    @app.after_server_stop
    async def disconnect(_: Sanic[Any, Any]) -> None:
        await pool.close()

    @app.post("/v1/carts/<cart_id>/items")
    async def add(request: Request, cart_id: str) -> HTTPResponse:
        body = decode(request.body)
        async with pool.connection() as connection:
            cursor = await connection.execute(
                _ADD, (cart_id, body.product_id, body.quantity, body.unit_price)
            )
            row = await cursor.fetchone()
        return json({"cart_id": cart_id, "quantity": row[0] if row else 0})

    @app.get("/v1/carts/<cart_id>")
    async def read(_: Request, cart_id: str) -> HTTPResponse:
        async with pool.connection() as connection:
            rows = await (await connection.execute(_READ, (cart_id,))).fetchall()
        lines = [{"product_id": p, "quantity": q, "unit_price": u} for p, q, u in rows]
        return json({"cart_id": cart_id, "lines": lines})

    return app


def main() -> None:
    """Serve one of the two on 127.0.0.1 in this process, until a signal."""
    kind, port = sys.argv[1], int(sys.argv[2])
    app = bare_app() if kind == "bare" else monolith_app(os.environ["CARTSTREAM_POSTGRES_URL"])
    app.run(host="127.0.0.1", port=port, access_log=False, single_process=True, motd=False)


if __name__ == "__main__":
    main()
