"""A pricing hook to copy: promotion codes out of a cart's details.

    python examples/pricing_hook.py 8100
    CARTSTREAM_PRICING_URL=http://127.0.0.1:8100/price cartstream up

The gateway posts each cart that is read or ordered, and shows the answer: adjustments in minor units (a
discount is negative, the code of a tax begins with `tax-`) and warnings. A shopper enters a code with
`PATCH /v1/carts/{id}/details` and `{"codes": ["SAVE10"]}`; a wrong one is a warning.
"""

import sys
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse, json

COUPONS = {"SAVE10": 10, "SAVE25": 25}
"""Percent of the subtotal by code."""

app = Sanic("pricing_hook")


@app.post("/price")
async def price(request: Request) -> HTTPResponse:
    """The adjustments and warnings of the cart in the body."""
    return json(priced(request.json))


def priced(cart: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What a cart costs besides its lines."""
    codes = cart["details"].get("codes", [])
    subtotal = cart["totals"]["subtotal"]
    return {
        "adjustments": [
            {"code": f"coupon-{code}", "amount": -(subtotal * COUPONS[code] // 100)}
            for code in codes
            if code in COUPONS
        ],
        "warnings": [{"code": "coupon_unknown"} for code in codes if code not in COUPONS],
    }


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True)
