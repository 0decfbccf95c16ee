"""The pages that the `type` of a problem leads to: what it is, and whether to send the request again."""

from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import Final

from gateway.http.problems import ProblemType

AGAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "body-too-large": "no, split it",
        "cart-claimed": "on the cart in into, after Retry-After",
        "cart-empty": "after an add",
        "cart-merged": "on the cart in into",
        "cart-not-delivered": "after Retry-After, same key: nothing was ordered",
        "cart-outdated": "after setting the lines in differences again",
        "catalogue-restoring": "after Retry-After, same key",
        "checkout-closed": "no; begin another one",
        "checkout-in-progress": "after Retry-After; look at the orders first",
        "client-gone": "yes",
        "currency-changed": "with the new price, once the cart has no line in another currency",
        "database-unavailable": "after Retry-After, same key",
        "deadline-exceeded": "after Retry-After, same key",
        "durability-not-reached": "after Retry-After, same key: it is made already",
        "history-incomplete": "after some seconds",
        "history-too-long": "with an earlier time",
        "idempotency-key-missing": "with a key",
        "idempotency-key-reused": "with a new key",
        "internal-error": "yes, same key",
        "invalid-body": "no; errors point at the places",
        "kafka-unavailable": "after Retry-After",
        "limit-exceeded": "no; limit and bound name it",
        "line-not-found": "after reading the cart",
        "misdirected-request": "by another name",
        "no-catalogue": "no; CARTSTREAM_PRODUCTS_OWNER is caller",
        "no-history": "no; CARTSTREAM_HISTORY is not true",
        "not-in-history": "with a time from known_from on",
        "not-ready": "after Retry-After",
        "option-not-offered": "with one of values for the option",
        "orders-elsewhere": "no, ask that system",
        "outbox-full": "after Retry-After",
        "overloaded": "after Retry-After, same key: nothing was done",
        "precondition-failed": "after reading the cart; current has its tag",
        "price-changed": "with the price in unit_price and currency, or none",
        "pricing-unavailable": "after Retry-After, same key: nothing was ordered",
        "product-inactive": "no, remove its line",
        "rate-limited": "after Retry-After, same key: nothing was done",
        "request-timeout": "yes",
        "request-too-old": "with a new key, after reading the cart",
        "restoring": "after Retry-After, same key",
        "short-stock": "with fewer; there are available",
        "store-full": "after Retry-After, same key; what makes a cart smaller is taken",
        "store-unavailable": "after Retry-After, same key",
        "headers-too-large": "with fewer, such as cookies",
        "connections-full": "after Retry-After, or on one that is open",
        "bodies-full": "after Retry-After",
        "streams-exhausted": "after Retry-After; GET still works",
        "too-many-changes": "after Retry-After",
        "too-many-streams": "after Retry-After; close one first",
        "unauthenticated": "with a proof",
        "version-too-low": "with what is newest; current is known",
    }
)
"""Whether to send the request again, by the slug of the problem's type; where it says nothing: no."""


def list_page(kinds: list[ProblemType]) -> str:
    """The page of all types."""
    rows = "".join(
        f'<tr><td><a href="{kind.uri}">{escape(kind.slug)}</a><td>{kind.status}<td>{escape(kind.title)}'
        for kind in kinds
    )
    return _page("Problems", f"<table><tr><th>type<th>status<th>title{rows}</table>")


def problem_page(kind: ProblemType) -> str:
    """The page of one type."""
    again = AGAIN.get(kind.slug, "no")
    return _page(
        kind.title,
        f"<p>Type <code>{kind.uri}</code>, status {kind.status}. "
        "The document's <code>detail</code> says what happened and what to do.</p>"
        f"<p>Send the request again? {escape(again[:1].upper() + again[1:])}.</p>"
        '<p><a href="/problems">All problems</a>, <a href="/docs">the API</a></p>',
    )


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"\n<title>{escape(title)}</title>\n<h1>{escape(title)}</h1>\n{content}\n</html>\n"
    )
