"""What a request may say about the details of a cart: types, lengths, and what a schema cannot express."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from carts.details import Address
from carts.mail_addresses import InvalidMailAddress, mail_address
from carts.operations import SetDetails
from carts.texts import has_control_characters
from gateway.http.grammars import printable
from gateway.http.validation import invalid

Email = Annotated[
    str,
    msgspec.Meta(
        max_length=254,
        pattern=r"^[^\s@]+@[^\s@]+$",
        description="where the order confirmation is sent",
        extra_json_schema={"format": "idn-email"},
    ),
]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100, extra_json_schema=printable())]
_PostalCode = Annotated[str, msgspec.Meta(min_length=1, max_length=20, extra_json_schema=printable())]
_Country = Annotated[
    str, msgspec.Meta(max_length=2, pattern="^[A-Z]{2}$", description="ISO 3166 alpha-2, for example DE")
]
_Phone = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[0-9+()./ -]+$")]
_Code = Annotated[str, msgspec.Meta(min_length=1, max_length=64, extra_json_schema=printable())]
Locale = Annotated[
    str,
    msgspec.Meta(
        max_length=35, pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", description="BCP 47, for example de-CH"
    ),
]


class PostalAddress(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where something is sent or billed. It is replaced as a whole."""

    name: _Text | None = None
    company: _Text | None = None
    lines: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=3, description="street and house")] = ()
    postal_code: _PostalCode | None = None
    city: _Text | None = None
    region: _Text | None = None
    country: _Country | None = None
    phone: _Phone | None = None


class PatchDetails(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The details to change (RFC 7396): null removes one, those left out stay. `codes` are one detail."""

    email: Email | UnsetType | None = UNSET
    codes: (
        Annotated[tuple[_Code, ...], msgspec.Meta(max_length=10, description="promotion codes, as entered")]
        | UnsetType
        | None
    ) = UNSET
    shipping_address: PostalAddress | UnsetType | None = UNSET
    billing_address: PostalAddress | UnsetType | None = UNSET
    shipping_method: _Code | UnsetType | None = UNSET
    locale: Locale | UnsetType | None = UNSET


class DetailsOperation(PatchDetails, forbid_unknown_fields=True, frozen=True, tag_field="op", tag="details"):
    """Set or remove details of the cart."""


PATCH_DETAILS: Final = msgspec.json.Decoder(PatchDetails)


def set_details(body: PatchDetails, pointer: str = "") -> SetDetails:
    """The step that changes what the body names. Raises Problem, also when it names nothing."""
    named = {
        name: value for name in PatchDetails.__struct_fields__ if (value := getattr(body, name)) is not UNSET
    }
    if not named:
        raise invalid(pointer, f"names nothing to change; send {', '.join(PatchDetails.__struct_fields__)}")
    for name, value in named.items():
        check_printable(value, f"{pointer}/{name}")
    check_email(named.get("email"), f"{pointer}/email")
    return SetDetails(**{name: _plain(value) for name, value in named.items()})


def check_printable(value: Any, pointer: str) -> None:
    """Raise Problem for a control character in a text, such as a line feed, which no pattern keeps out."""
    match value:
        case str() if has_control_characters(value):
            raise invalid(pointer, "contains a control character, such as a line feed; remove it")
        case tuple():
            for index, member in enumerate(value):
                check_printable(member, f"{pointer}/{index}")
        case PostalAddress():
            for name, member in msgspec.structs.asdict(value).items():
                check_printable(member, f"{pointer}/{name}")


def check_email(value: str | None, pointer: str) -> None:
    """Raise Problem for an address that no mail can be sent to."""
    if value is None:
        return
    try:
        mail_address(value)
    except InvalidMailAddress as error:
        raise invalid(pointer, f"is no e-mail address: {error.advice}") from error


def _plain(value: Any) -> Any:
    match value:
        case PostalAddress():
            return Address(**msgspec.structs.asdict(value))
        case tuple():
            return tuple(dict.fromkeys(value))  # a code that is entered twice counts once
        case _:
            return value
