"""The mails that were taken, a file each: `.local/mail/<id>.eml`."""

import email
import email.policy
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import msgspec

from devstack.files import make_private, private

_ID: Final = re.compile(r"[0-9]{8}T[0-9]{12}-[0-9a-f]{8}")
_ENDING: Final = ".eml"


class Summary(msgspec.Struct, frozen=True):
    """A mail in the list; `copies` is how many mails with its Message-ID there are."""

    id: str
    received: datetime
    sender: str
    recipient: str
    subject: str
    copies: int


class Message(msgspec.Struct, frozen=True):
    """A mail as one reads it; `html` and `text` are empty where the mail has no such part."""

    id: str
    headers: list[tuple[str, str]]
    text: str
    html: str
    raw: bytes


class Messages:
    """The folder of mails. Any number of processes may read while one writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, content: bytes) -> str:
        """Keep a mail; returns its id. It is whole or not there."""
        make_private(self._folder)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        draft = self._folder / f"{name}.draft"
        with open(draft, "wb", opener=private) as file:
            file.write(content)
        draft.rename(self._folder / f"{name}{_ENDING}")
        return name

    def list(self, limit: int) -> list[Summary]:
        """The newest `limit` mails, each Message-ID once, newest first."""
        newest: dict[str, Summary] = {}
        for name in self._names():
            mail = self._parse(self._file(name).read_bytes())
            key = _shown(mail, "Message-ID") or name
            if (known := newest.get(key)) is not None:
                newest[key] = msgspec.structs.replace(known, copies=known.copies + 1)
            elif len(newest) < limit:
                newest[key] = Summary(
                    name,
                    _received(name),
                    _shown(mail, "From"),
                    _shown(mail, "To"),
                    _shown(mail, "Subject"),
                    1,
                )
        return list(newest.values())

    def read(self, name: str) -> Message | None:
        """The mail with the id; None if there is none."""
        if not _ID.fullmatch(name):
            return None
        try:
            raw = self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        mail = self._parse(raw)
        headers = [(header, _shown(mail, header)) for header in dict.fromkeys(mail.keys())]
        return Message(name, headers, _part(mail, "plain"), _part(mail, "html"), raw)

    def _names(self) -> Iterator[str]:
        names = (path.stem for path in self._folder.glob(f"*{_ENDING}"))
        yield from sorted((name for name in names if _ID.fullmatch(name)), reverse=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{_ENDING}"

    def _parse(self, raw: bytes) -> EmailMessage:
        return email.message_from_bytes(raw, policy=email.policy.default)


def _received(name: str) -> datetime:
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)


def _shown(mail: EmailMessage, header: str) -> str:
    try:
        return str(mail[header] or "")
    except Exception:  # noqa: BLE001  the standard library's parser stumbles over malformed ones in many ways
        raw = next(value for name, value in mail.raw_items() if name.lower() == header.lower())
        return str(raw).encode(errors="replace").decode()


def _part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    if body is None:
        return ""
    payload = body.get_payload(decode=True)
    # Somebody's mail may be in any encoding, or in none that there is.
    return payload.decode("utf-8", errors="replace") if isinstance(payload, bytes) else ""
