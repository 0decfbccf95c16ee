"""Registers the schemas of records with a schema registry that speaks Confluent's REST API.

A topic's values are the subject `<topic>-value` (TopicNameStrategy), its versions are ours in their order.
Doing it again changes nothing. Records are plain JSON: no writer puts the ids of a registry before them.
"""

import ssl
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import msgspec

from runtime.redaction import redacted_address
from topics.errors import SchemaRegistryError
from topics.published import schema, versions
from topics.registry import TOPICS, Part
from topics.settings import SchemaRegistrySettings

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_LONGEST_COMPLAINT: Final = 500


class Compatibility(StrEnum):
    """What a registry compares a new version of a schema with."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


class Subject(msgspec.Struct, frozen=True):
    """A subject, and its schemas from the first version to the newest, as texts."""

    name: str
    schemas: tuple[str, ...]


class Registered(msgspec.Struct, frozen=True):
    """What was done for a subject, or would be: our versions that it lacked, and the level that was set.

    `compatibility` is None where the subject had the level already.
    """

    subject: str
    versions: tuple[int, ...]
    compatibility: Compatibility | None


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: Any


def subjects() -> list[Subject]:
    """The subjects of this shop's topics, with its prefix. Dead letters have none: any value may be there."""
    return [
        Subject(
            f"{topic.name}-value",
            tuple(
                msgspec.json.encode(schema(record.name, version)).decode()
                for version in versions(record.name)
            ),
        )
        for topic in TOPICS
        for record in topic.records
        if record.part is Part.VALUE
    ]


async def register(
    settings: SchemaRegistrySettings, compatibility: Compatibility, *, dry_run: bool
) -> list[Registered]:
    """Register what the registry lacks; with `dry_run` only ask it. Raises SchemaRegistryError."""
    async with _Registry(settings) as registry:
        return [await _register(registry, each, compatibility, dry_run=dry_run) for each in subjects()]


async def _register(
    registry: "_Registry", subject: Subject, compatibility: Compatibility, *, dry_run: bool
) -> Registered:
    missing = [
        version
        for version, text in enumerate(subject.schemas, start=1)
        if not await registry.has(subject.name, text)
    ]
    differs = await registry.compatibility(subject.name) != compatibility
    if not dry_run:
        if differs:
            # First: with a stricter level a version that adds a field could be refused.
            await registry.set_compatibility(subject.name, compatibility)
        for version in missing:
            await registry.add(subject.name, subject.schemas[version - 1])
    return Registered(subject.name, tuple(missing), compatibility if differs else None)


class _Registry:
    """A registry over HTTP."""

    def __init__(self, settings: SchemaRegistrySettings) -> None:
        self._url: Final = settings.schema_registry_url.rstrip("/")
        headers = {"accept": f"{_MEDIA_TYPE}, application/json"}
        if settings.schema_registry_token is not None:
            headers["authorization"] = f"Bearer {settings.schema_registry_token.get_secret_value()}"
        if settings.schema_registry_user is not None and settings.schema_registry_password is not None:
            password = settings.schema_registry_password.get_secret_value()
            headers["authorization"] = aiohttp.encode_basic_auth(settings.schema_registry_user, password)
        self._headers: Final = headers
        self._tls: Final = _tls(settings)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def has(self, subject: str, text: str) -> bool:
        """Whether the subject has this very schema."""
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}", _body(text))
        return answer.status != HTTPStatus.NOT_FOUND

    async def add(self, subject: str, text: str) -> None:
        """Register the schema as the subject's next version."""
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", _body(text))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise SchemaRegistryError(f"{redacted_address(self._url)} is the address of no schema registry")

    async def compatibility(self, subject: str) -> str | None:
        """The level of the subject itself; None if it has that of the whole registry."""
        answer = await self._ask("GET", f"/config/{quote(subject, safe='')}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        level = answer.body.get("compatibilityLevel") if isinstance(answer.body, dict) else None
        return level if isinstance(level, str) else None

    async def set_compatibility(self, subject: str, level: Compatibility) -> None:
        """Give the subject a level of its own."""
        await self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": level})

    async def _ask(self, method: str, path: str, body: object = None) -> _Answer:
        """The answer, 404 included. Raises SchemaRegistryError for every other refusal."""
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"content-type": _MEDIA_TYPE},
                ssl=self._tls,
                allow_redirects=False,
            ) as reply:
                content = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SchemaRegistryError(
                f"the schema registry at {redacted_address(self._url)} did not answer "
                f"({error or type(error).__name__}): look at CARTSTREAM_SCHEMA_REGISTRY_URL"
            ) from error
        try:
            answer = _Answer(reply.status, msgspec.json.decode(content) if content else None)
        except msgspec.DecodeError:
            answer = _Answer(reply.status, content.decode(errors="replace"))
        if reply.ok or answer.status == HTTPStatus.NOT_FOUND:
            return answer
        raise SchemaRegistryError(f"{method} {path}: the schema registry answered {_complaint(answer)}")


def _body(text: str) -> dict[str, str]:
    return {"schemaType": "JSON", "schema": text}


def _complaint(answer: _Answer) -> str:
    """What the registry says, and what to do."""
    said = answer.body.get("message", "") if isinstance(answer.body, dict) else (answer.body or "")
    advice: dict[int, str] = {
        HTTPStatus.UNAUTHORIZED: "set CARTSTREAM_SCHEMA_REGISTRY_USER and _PASSWORD, or _TOKEN",
        HTTPStatus.FORBIDDEN: "give this user the right to read and write subjects and their configuration",
        HTTPStatus.CONFLICT: "its compatibility level refuses what ours allows; use --compatibility NONE",
    }
    words = [f"{answer.status} {str(said)[:_LONGEST_COMPLAINT]}".strip(), advice.get(answer.status)]
    return ": ".join(word for word in words if word)


def _tls(settings: SchemaRegistrySettings) -> ssl.SSLContext | bool:
    """How to prove the registry; True where it is not asked over TLS. Raises SchemaRegistryError."""
    if not settings.schema_registry_url.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=settings.schema_registry_tls_ca)
    except OSError as error:
        raise SchemaRegistryError(f"CARTSTREAM_SCHEMA_REGISTRY_TLS_CA cannot be read: {error}") from error
