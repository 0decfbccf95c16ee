"""The bodies and parameters of requests on the catalogue."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sanic import Request

from carts.errors import InvalidIdentifier
from carts.ids import to_product_id
from carts.limits import LIMITS, MAX_SAFE_INTEGER
from carts.numbers import without_negative_zeros
from carts.products import PRODUCT_LIMITS, InvalidProduct, Product, ProductContent, check_product
from gateway.http.grammars import STORABLE, identifier
from gateway.http.problems import FieldError, Problem
from gateway.http.requests import bad_parameter, number_in
from gateway.http.validation import FreeForm, decode, invalid
from gateway.products import problems

NDJSON: Final = "application/x-ndjson"

DEFAULT_LIMIT: Final = 24
MAX_LIMIT: Final = 100
"""Of products on a page."""
QUERY_CHARACTERS: Final = 200
MAX_IDS: Final = 100
"""Of products that a request may name."""
_PARAMETERS: Final = {"cursor", "limit", "q", "category", "ids"}

Version = Annotated[
    Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": MAX_SAFE_INTEGER})] | None,
    Meta(description="The owner's own version, which only rises; required where products are external."),
]


# `check_product` says what is wrong with a value, in words of its own: this says the same in the document.
_BLANKS: Final = r" \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Python strips; ECMA-262 has another list."""
# Blanks, something else, anything: no two of the parts take the same text, and none is looked for ahead.
_IN_LINE: Final = rf"^[{_BLANKS}]*[^{_BLANKS}\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_IMAGE: Final = r"^(?:https?://[\x21-\x7e]+|/[\x21-\x7e]*)$"
_L: Final = PRODUCT_LIMITS
_ProductId = Annotated[str, Meta(extra_json_schema=identifier("product_id"))]
_Name = Annotated[str, Meta(extra_json_schema={"pattern": _IN_LINE, "maxLength": _L.name})]
_Price = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": LIMITS.unit_price})]
_Currency = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})]
_Description = Annotated[str, Meta(extra_json_schema={**STORABLE, "maxLength": _L.description})]
_Category = Annotated[str, Meta(extra_json_schema={"pattern": _IN_LINE, "maxLength": _L.category})]
_Stock = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": _L.stock})]
_ImageUrl = Annotated[str, Meta(extra_json_schema={"pattern": _IMAGE, "maxLength": _L.image_url})]


class PutProduct(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole product. `unit_price` in minor units of `currency`; `stock` null: not counted."""

    name: _Name
    unit_price: _Price
    currency: _Currency
    description: _Description = ""
    category: _Category | None = None
    stock: _Stock | None = None
    active: bool = True
    image_url: _ImageUrl | None = None
    attributes: FreeForm = {}
    version: Version = None


class PatchProduct(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The fields of a product to change."""

    name: _Name | UnsetType = UNSET
    unit_price: _Price | UnsetType = UNSET
    currency: _Currency | UnsetType = UNSET
    description: _Description | UnsetType = UNSET
    category: _Category | UnsetType | None = UNSET
    stock: _Stock | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    image_url: _ImageUrl | UnsetType | None = UNSET
    attributes: FreeForm | UnsetType = UNSET
    version: Version = None

    def fields(self) -> dict[str, Any]:
        """The new values by field name."""
        found = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        del found["version"]
        return found


class ImportProduct(PatchProduct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A line of an import: of a known product the fields to change, of a new one name, price and currency.

    `stock_change` is added to the stock. With `if_version` the line counts only while the product is at this
    version, as `cartstream products export` has written it; 0: only while there is no such product.
    """

    product_id: _ProductId
    stock_change: int | UnsetType = UNSET
    if_version: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] | None = None

    def fields(self) -> dict[str, Any]:
        """The new values by field name."""
        found = super().fields()
        for name in ("product_id", "stock_change", "if_version"):
            found.pop(name, None)
        return found


class SentProduct(msgspec.Struct, frozen=True):
    """A product as its owner has sent it; `version` is the owner's, None where this system gives it."""

    content: ProductContent
    version: int | None


_REQUIRED: Final = {"name": "a product", "unit_price": 0, "currency": "EUR"}
"""What a new product must have, and values that keep the bounds."""


PUT_PRODUCT: Final = msgspec.json.Decoder(PutProduct)
PATCH_PRODUCT: Final = msgspec.json.Decoder(PatchProduct)
_IMPORT_PRODUCT: Final = msgspec.json.Decoder(ImportProduct)


def sent_product(product_id: str, body: PutProduct) -> SentProduct:
    """The product in `body`. Raises Problem with a pointer to a value out of bounds."""
    fields = {name: getattr(body, name) for name in PutProduct.__struct_fields__ if name != "version"}
    return SentProduct(_content({"product_id": product_id, **fields}), body.version)


def sent_line(line: bytes) -> ImportProduct:
    """A line of an import. Raises Problem for what is wrong with it, whatever product is known."""
    body = decode(_IMPORT_PRODUCT, line)
    try:
        body = msgspec.structs.replace(body, product_id=to_product_id(body.product_id))
    except InvalidIdentifier as error:
        raise invalid("/product_id", f"is not valid: {error.advice}") from error
    fields = body.fields()
    _content({"product_id": body.product_id, **_REQUIRED, **fields})
    if body.stock_change is not UNSET and "stock" in fields:
        raise invalid("/stock_change", "stands beside stock; send one of them")
    if not fields and body.stock_change is UNSET:
        raise invalid("", "names nothing to change; send the fields of the product")
    return body


def patched(known: Product, patch: PatchProduct) -> ProductContent:
    """The product with the fields of the patch. Raises Problem for a value out of bounds."""
    return _content(msgspec.structs.asdict(known) | patch.fields())


def imported(line: ImportProduct, known: Product | None, so_far: ProductContent | None) -> ProductContent:
    """The product that a line makes of the `known` one, `so_far` changed by earlier lines.

    What the line does not name stays. Raises Problem for a line that has come too late, for a new product
    without what it needs, for a stock out of bounds.
    """
    version = 0 if known is None else known.version
    if line.if_version not in {None, version}:
        raise invalid(
            "/if_version", f"is {line.if_version}, but the product is at {version}; export it again"
        )
    before = so_far or known
    fields = line.fields()
    if before is None:
        for name in _REQUIRED:
            if name not in fields:
                raise invalid(f"/{name}", "is required, for there is no such product yet; add it")
    else:
        fields = msgspec.structs.asdict(before) | fields
    if line.stock_change is not UNSET:
        stock = fields.get("stock")
        if stock is None:
            raise invalid("/stock_change", "changes a stock that nobody counts; send stock")
        fields["stock"] = stock + line.stock_change
    return _content({"product_id": line.product_id, **fields})


def _content(fields: Mapping[str, Any]) -> ProductContent:
    """The product of these fields, others left out. Raises Problem for a value out of bounds."""
    known = {name: fields[name] for name in ProductContent.__struct_fields__ if name in fields}
    if "attributes" in known:
        known["attributes"] = without_negative_zeros(known["attributes"])
    content = ProductContent(**known)
    try:
        check_product(content)
    except InvalidProduct as error:
        raise invalid(f"/{error.field}", error.advice) from error
    return content


def check_version(version: int | None, *, required: bool) -> None:
    """Raise Problem unless there is a version exactly where it is `required` (products are external)."""
    if required and version is None:
        raise invalid(
            "/version", "is required, because another system owns the products; send its version, such as 1"
        )
    if version is not None and required and not 1 <= version <= MAX_SAFE_INTEGER:
        raise invalid("/version", f"is {version}; send a number from 1 to {MAX_SAFE_INTEGER}")
    if not required and version is not None:
        raise invalid("/version", "is given by this system, which owns the products; leave it out")


def error_of(problem: Problem) -> FieldError:
    """The first error of a problem, or its detail without a pointer."""
    return problem.errors[0] if problem.errors else FieldError("", problem.detail)


class PageRequest(msgspec.Struct, frozen=True):
    """A page of products: those after `cursor`, with all words of `query`, of `category`; None: any."""

    cursor: str | None
    limit: int
    query: str | None
    category: str | None


def ids_request(request: Request) -> list[str] | None:
    """The ids that the query parameter `ids` names, each once; None without it. Raises Problem."""
    arguments = request.get_args(keep_blank_values=True)
    if "ids" not in arguments:
        return None
    if len(arguments) > 1:
        raise bad_parameter("ids", "stands alone; leave the other parameters out")
    named = [one for one in ",".join(arguments.getlist("ids")).split(",") if one]
    try:
        ids = list(dict.fromkeys(to_product_id(one) for one in named))
    except InvalidIdentifier as error:
        raise bad_parameter(
            "ids", f"names {error.value[:40]!r}, which is no product id: {error.advice}"
        ) from error
    if not 1 <= len(ids) <= MAX_IDS:
        raise bad_parameter("ids", f"names {len(ids)} products; name 1 to {MAX_IDS}, between commas")
    return ids


def page_request(request: Request) -> PageRequest:
    """The page that the query parameters ask for. Raises Problem."""
    arguments = request.get_args(keep_blank_values=True)
    for name in arguments:
        if name not in _PARAMETERS:
            raise bad_parameter(name[:40], f"is not known; use {', '.join(sorted(_PARAMETERS))}")
    limit = number_in(request, "limit", DEFAULT_LIMIT, MAX_LIMIT) or DEFAULT_LIMIT
    query, category = arguments.get("q") or None, arguments.get("category") or None
    for name, value in (("q", query), ("category", category)):
        if value is not None and len(value) > QUERY_CHARACTERS:
            raise bad_parameter(name, f"has {len(value)} characters; send at most {QUERY_CHARACTERS}")
    return PageRequest(arguments.get("cursor") or None, limit, query, category)


def check_lines(first: bytes) -> None:
    """Raise Problem if the first line of an import shows that the file is no JSON document for each line."""
    text = first.strip()
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        # One bad line is an error of its own; a document over several lines begins like this.
        if text.startswith(b"{") and not text.endswith((b"{", b"[", b",")):
            return
        if not text.startswith((b"{", b"[")):
            raise problems.no_lines("It is no JSON, perhaps CSV") from None
        value = [] if text.startswith(b"[") else {"products": []} if b'"products"' in text else {}
    if isinstance(value, list):
        raise problems.no_lines("It is one JSON array; jq -c '.[]' makes lines of it")
    if not isinstance(value, dict):
        raise problems.no_lines("It is no JSON object")
    if not value:
        raise problems.no_lines("Its objects go over several lines; jq -c . makes each one a line")
    if isinstance(value.get("products"), list):
        raise problems.no_lines("It is one JSON object; jq -c '.products[]' makes lines of it")


def check_ndjson(content_type: str | None) -> None:
    """Raise Problem unless the body of an import has the media type of lines of JSON."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in {NDJSON, "application/ndjson", "application/jsonl"}:
        raise problems.not_ndjson(media_type, NDJSON)
