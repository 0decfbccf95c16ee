"""A pricing hook to copy: coupons out of a cart's metadata.

    python examples/pricing_hook.py 8100
    CARTSTREAM_PRICING_URL=http://127.0.0.1:8100/price cartstream up

The gateway posts each cart that is read or ordered, and shows the answer: adjustments in minor units (a
discount is negative, the code of a tax begins with `tax-`) and warnings. A shopper enters a coupon by writing
it to the cart's metadata: `{"op": "metadata", "metadata": {"coupon": "SAVE10"}}`.
"""

import sys
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse, json

COUPONS = {"SAVE10": 10, "SAVE25": 25}
"""Percent of the subtotal by coupon."""

app = Sanic("pricing_hook")


@app.post("/price")
async def price(request: Request) -> HTTPResponse:
    """The adjustments and warnings of the cart in the body."""
    return json(priced(request.json))


def priced(cart: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What a cart costs besides its lines."""
    coupon = cart["metadata"].get("coupon")
    if coupon is None:
        return {"adjustments": [], "warnings": []}
    if coupon not in COUPONS:
        return {"adjustments": [], "warnings": [{"code": "coupon_unknown"}]}
    discount = cart["totals"]["subtotal"] * COUPONS[coupon] // 100
    return {"adjustments": [{"code": f"coupon-{coupon}", "amount": -discount}], "warnings": []}


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True)
