"""Details of a cart beside its lines: e-mail, codes, addresses. All that it knows of a person is here."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where something is sent or billed; `lines` are street and house, `country` is ISO 3166 alpha-2."""

    name: str | None = None
    company: str | None = None
    lines: tuple[str, ...] = ()
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    country: str | None = None
    phone: str | None = None


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """The details of a cart, None where they are not known. `codes` are promotion codes as they were entered.

    The fields are in the order of their names, as Redis keeps them.
    """

    billing_address: Address | None = None
    codes: tuple[str, ...] | None = None
    email: str | None = None
    locale: str | None = None
    shipping_address: Address | None = None
    shipping_method: str | None = None


NO_DETAILS: Final = Details()


class DetailsPatch(msgspec.Struct, frozen=True):
    """Details to set; None removes one, and those left out stay (JSON Merge Patch, RFC 7396, one level)."""

    billing_address: Address | UnsetType | None = UNSET
    codes: tuple[str, ...] | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET
    shipping_address: Address | UnsetType | None = UNSET
    shipping_method: str | UnsetType | None = UNSET

    def named(self) -> dict[str, Any]:
        """The new values by field; an empty list of codes is none."""
        fields = {name: getattr(self, name) for name in DetailsPatch.__struct_fields__}
        return {name: None if value == () else value for name, value in fields.items() if value is not UNSET}


def patched(details: Details, patch: DetailsPatch) -> Details:
    """The details after a patch: each field is decided by the last patch that names it."""
    return msgspec.structs.replace(details, **patch.named())


def lacking(details: Details, others: Details) -> dict[str, Any]:
    """What `others` know and `details` do not, by field: what a merge adds to the user's cart."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(others).items()
        if value is not None and getattr(details, name) is None
    }
