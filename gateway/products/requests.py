"""What a request on the catalogue may say."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from carts.limits import MAX_SAFE_INTEGER
from carts.operations import Metadata
from carts.products import InvalidProduct, Product, ProductContent, check_product
from gateway.http.problems import FieldError
from gateway.http.validation import decode, invalid

NDJSON: Final = "application/x-ndjson"

DEFAULT_LIMIT: Final = 24
MAX_LIMIT: Final = 100
"""Of products on a page."""

Version = Annotated[
    int | None,
    msgspec.Meta(
        description="Of the owner's own counting, which only rises; required if that is another system."
    ),
]


class PutProduct(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole product. `unit_price` in minor units of `currency`; `stock` null: nobody counts."""

    name: str
    unit_price: int
    currency: str
    description: str = ""
    category: str | None = None
    stock: int | None = None
    active: bool = True
    image_url: str | None = None
    attributes: Metadata = {}
    version: Version = None


class ImportProduct(PutProduct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A line of an import: a whole product with its id."""

    product_id: str


class PatchProduct(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The fields of a product that change."""

    name: str | UnsetType = UNSET
    unit_price: int | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    category: str | UnsetType | None = UNSET
    stock: int | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    image_url: str | UnsetType | None = UNSET
    attributes: Metadata | UnsetType = UNSET
    version: Version = None

    def fields(self) -> dict[str, Any]:
        """What changes, by name."""
        found = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        del found["version"]
        return found


class Sent(msgspec.Struct, frozen=True):
    """A product that its owner has sent, and the version it was given there (none: given here)."""

    content: ProductContent
    version: int | None


PUT_PRODUCT: Final = msgspec.json.Decoder(PutProduct)
PATCH_PRODUCT: Final = msgspec.json.Decoder(PatchProduct)
_IMPORT_PRODUCT: Final = msgspec.json.Decoder(ImportProduct)


def sent(product_id: str, body: PutProduct) -> Sent:
    """What `body` says of a product. Raises Problem with a pointer for what breaks a bound."""
    fields = {name: getattr(body, name) for name in PutProduct.__struct_fields__ if name != "version"}
    content = ProductContent(product_id=product_id, **fields)
    check(content)
    return Sent(content, body.version)


def sent_line(line: bytes) -> Sent:
    """What a line of an import says. Raises Problem."""
    body = decode(_IMPORT_PRODUCT, line)
    return sent(body.product_id, body)


def patched(known: Product, patch: PatchProduct) -> ProductContent:
    """The product with the fields of the patch. Raises Problem for what breaks a bound."""
    fields = msgspec.structs.asdict(known) | patch.fields()
    content = ProductContent(**{name: fields[name] for name in ProductContent.__struct_fields__})
    check(content)
    return content


def check(content: ProductContent) -> None:
    """Raise the Problem of what breaks a bound."""
    try:
        check_product(content)
    except InvalidProduct as error:
        raise invalid(f"/{error.field}", error.advice) from error


def check_version(version: int | None, *, required: bool) -> None:
    """The owner's version, where the owner is another system and only there. Raises Problem."""
    if required and version is None:
        raise invalid(
            "/version", "is required, for another system owns the products; send its own counting, such as 1"
        )
    if version is not None and required and not 1 <= version <= MAX_SAFE_INTEGER:
        raise invalid("/version", f"is {version}; send a number from 1 to {MAX_SAFE_INTEGER}")
    if not required and version is not None:
        raise invalid("/version", "is given here, where products are owned; leave it out")


def errors_of(problem: Any) -> FieldError:
    """The first place that a problem points at."""
    return problem.errors[0] if problem.errors else FieldError("", problem.detail)
