"""Erase a cart, however long a busy machine's stores take for it."""

from typing import Any

import httpx

from tests.support.waiting import until


async def erase_cart(http: httpx.AsyncClient, cart_id: str) -> dict[str, Any]:
    """The certificate, once no store is waited for; `removed` is what the first request found.

    The gateway waits some seconds for every store. After that its answer is 202, and the erasure is asked for
    again.
    """
    certificates: list[dict[str, Any]] = []

    async def is_complete() -> bool:
        reply = await http.delete(f"/v1/carts/{cart_id}", params={"erase": "true"}, timeout=60)
        assert reply.status_code in {200, 202}, reply.text
        certificates.append(reply.json())
        assert certificates[-1]["complete"] == (reply.status_code == 200), reply.text
        return reply.status_code == 200

    await until(is_complete, f"{cart_id} erased everywhere")
    return {**certificates[-1], "removed": certificates[0]["removed"]}
