"""E-mail addresses: which of them mail can be sent to, and in which form. Pure."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

import idna
import msgspec

from carts.errors import CartError
from carts.texts import has_control_characters

_LOCAL_BYTES: Final = 64
_DOMAIN_CHARACTERS: Final = 253
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
"""A dot-string of RFC 5321 and 6531; nobody has an address with quotes."""
_NAME: Final = re.compile(r"(?:[A-Za-z0-9-]+\.)*(?![0-9]+\Z)[A-Za-z0-9-]+")
"""A number in the last place is that of an IP address without its brackets."""
_IPV6: Final = "IPv6:"


class InvalidMailAddress(CartError):
    """No server will ever take a mail to this address; `advice` says what is wrong with it."""

    def __init__(self, address: str, advice: str) -> None:
        self.advice = advice
        super().__init__(f"{address[:80]!r} is no e-mail address: {advice}")


class MailAddress(msgspec.Struct, frozen=True):
    """An address as mail servers know it: the domain in ASCII (IDNA 2008), or an IP address in brackets."""

    local: str
    domain: str


def mail_address(text: str) -> MailAddress:
    """The address that `text` is. Raises InvalidMailAddress."""
    local, _, domain = text.rpartition("@")
    if not local or not domain:
        raise InvalidMailAddress(text, "it has the form name@example.org")
    if has_control_characters(text) or any(letter.isspace() for letter in text):
        raise InvalidMailAddress(text, "it has no blanks and no control characters")
    if not _LOCAL.fullmatch(local):
        raise InvalidMailAddress(
            text, "before the @ it has letters, digits, !#$%&'*+/=?^_`{|}~- and single dots between them"
        )
    if len(local.encode()) > _LOCAL_BYTES:
        raise InvalidMailAddress(text, f"before the @ it has at most {_LOCAL_BYTES} bytes")
    if domain.startswith("["):
        return MailAddress(local, _literal(text, domain))
    return MailAddress(local, _ascii(text, domain))


def _ascii(text: str, domain: str) -> str:
    try:
        # UTS 46 only maps what is written differently, such as capitals; ß and ς stay what they are.
        name = idna.encode(domain, uts46=True, transitional=False).decode()
    except idna.IDNAError as error:
        raise InvalidMailAddress(text, f"{domain[:80]!r} is no domain") from error
    if len(name) > _DOMAIN_CHARACTERS or not _NAME.fullmatch(name):
        raise InvalidMailAddress(text, f"{domain[:80]!r} is no domain")
    return name


def _literal(text: str, domain: str) -> str:
    inner = domain.removeprefix("[").removesuffix("]") if domain.endswith("]") else ""
    try:
        if inner.startswith(_IPV6):
            IPv6Address(inner.removeprefix(_IPV6))
        else:
            IPv4Address(inner)
    except AddressValueError as error:
        raise InvalidMailAddress(text, f"{domain[:80]!r} is no IP address in brackets") from error
    return domain
