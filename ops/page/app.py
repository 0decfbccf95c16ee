"""The HTTP routes of the operations page: files, the overview, dead letters, one cart."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from hashlib import blake2b
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, TypeVar

import msgspec
import structlog
from aiohttp import web

import gateway.demo
from ops.dead_letter_documents import summary, whole
from ops.dead_letter_topic import DeadLetterFilter, DeadLetterId, Listed
from ops.dead_letters import Result, drop, fetch, find, replay, with_value
from ops.lookup.search import Lookup, Reach
from ops.overview.collector import Collector
from ops.page.access import CHALLENGE, is_let_in, may_change, may_read_data
from ops.page.settings import PageSettings
from ops.progress import silent
from ops.running import Failed, explained
from topics.registry import DEAD_LETTERS

log = structlog.get_logger(__name__)

T = TypeVar("T")

LISTED: Final = 200
"""Dead letters shown at most."""
WAITING: Final = 8
"""Requests at most that wait for whole partitions to be read."""
_LONGEST_ID: Final = 256
_LARGEST_BODY: Final = 64 * 1024
_TYPES: Final = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_SHARED: Final = ("base.css", "dom.js", "icon.svg")
"""Files of the demo shop: the same colours and controls."""
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters to handle: by id, or `all` that are open.

    `expected`: the `tag` of the list that the page shows. If others are open by now, nothing is done.
    """

    ids: list[str] = []
    all: bool = False
    expected: str | None = None


class Page:
    """The handlers of one app."""

    def __init__(self, settings: PageSettings, collector: Collector) -> None:
        """`collector` belongs to the caller, who runs it."""
        self._settings: Final = settings
        self._token: Final = settings.ops_token.get_secret_value() if settings.ops_token else None
        self._collector: Final = collector
        self._lookup: Final = Lookup(settings)
        self._reach: Final = Reach(from_history=settings.history)
        self._watch: Final = collector.dead_letters
        self._letters: Final = asyncio.Lock()
        self._reading: Final = asyncio.Lock()
        self._waiting = 0
        self._files: Final = _read_files()

    def app(self) -> web.Application:
        """The routes, behind the check of who asks."""
        app = web.Application(middlewares=[self._guarded], client_max_size=_LARGEST_BODY)
        app.add_routes(
            [
                web.get("/", self._to_page),
                web.get("/ops", self._page),
                web.get("/ops/static/{name}", self._file),
                web.get("/ops/api/overview", self._overview),
                web.get("/ops/api/carts", self._cart),
                web.get("/ops/api/dead-letters", self._list),
                web.get("/ops/api/dead-letters/{id}", self._show),
                web.post("/ops/api/dead-letters/retry", self._retry),
                web.post("/ops/api/dead-letters/drop", self._drop),
            ]
        )
        return app

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            response = await self._answer(request, handler, headers)
        except web.HTTPException as error:
            response = _error(HTTPStatus(error.status_code), error.reason)
        except Failed as failure:
            response = _error(HTTPStatus.SERVICE_UNAVAILABLE, failure.message)
        except Exception as error:
            log.exception("ops.request_failed", path=request.path, error=repr(error))
            response = _error(
                HTTPStatus.INTERNAL_SERVER_ERROR, "This went wrong; the log of the page says how."
            )
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def _answer(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        headers: dict[str, str],
    ) -> web.StreamResponse:
        if request.path.startswith("/ops/api/") and not may_read_data(headers):
            return _error(
                HTTPStatus.FORBIDDEN, "Only the operations page itself, or a program, may ask for this."
            )
        if not is_let_in(self._token, headers):
            if self._token is None:
                return _error(HTTPStatus.FORBIDDEN, "Ask by the name localhost or 127.0.0.1.")
            response = _error(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.")
            response.headers["WWW-Authenticate"] = CHALLENGE
            return response
        if request.method not in {"GET", "HEAD"} and not may_change(self._token, headers):
            return _error(HTTPStatus.FORBIDDEN, "Only the operations page itself may change something.")
        return await handler(request)

    async def _to_page(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=HTTPStatus.FOUND, headers={"Location": "/ops"})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._served(request, "ops.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._served(request, request.match_info["name"])

    def _served(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self._files:
            return _error(HTTPStatus.NOT_FOUND, "The page has no such file.")
        body, tag = self._files[name]
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers={"ETag": tag})

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            return _error(HTTPStatus.BAD_REQUEST, "`since` is a number of seconds.")
        return _json(self._collector.overview(since))

    async def _cart(self, request: web.Request) -> web.StreamResponse:
        cart_id = request.query.get("id", "").strip()
        if not 0 < len(cart_id) <= _LONGEST_ID:
            return _error(HTTPStatus.BAD_REQUEST, "Name a cart: `id=user:42`.")
        with explained(self._settings):
            return _json(await self._alone(self._lookup.find(cart_id, self._reach)))

    async def _list(self, _: web.Request) -> web.StreamResponse:
        listed = await self._open()
        shown = [summary(each) for each in listed[:LISTED]]
        return _json({"open": len(listed), "tag": _tag(listed), "letters": shown})

    async def _show(self, request: web.Request) -> web.StreamResponse:
        at = self._id(request.match_info["id"])
        known = next((each for each in await self._open() if each.letter.id == at), None)
        with explained(self._settings):
            listed = await self._alone(
                fetch(self._settings, at) if known is None else with_value(self._settings, known)
            )
        if listed is None:
            return _error(HTTPStatus.NOT_FOUND, f"There is no dead letter at {at}.")
        return _json(whole(listed))

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        async def work(chosen: list[Listed]) -> list[Result]:
            return await replay(self._settings, chosen, silent, dry_run=False)

        return await self._handle(request, work)

    async def _drop(self, request: web.Request) -> web.StreamResponse:
        async def work(chosen: list[Listed]) -> list[Result]:
            return await drop(self._settings, chosen, dry_run=False)

        return await self._handle(request, work)

    async def _handle(
        self, request: web.Request, work: Callable[[list[Listed]], Awaitable[list[Result]]]
    ) -> web.StreamResponse:
        """Choose the dead letters that were asked for, and do it; one request at a time."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=Wanted)
        except msgspec.MsgspecError as error:
            return _error(HTTPStatus.BAD_REQUEST, f"The body is wrong: {error}.")
        if bool(wanted.ids) == wanted.all:
            return _error(HTTPStatus.BAD_REQUEST, "Name `ids`, or say `all`.")
        ids = {self._id(text) for text in wanted.ids}
        async with self._letters:
            with explained(self._settings):
                chosen = await (self._watch.open() if wanted.all else self._chosen(ids))
            if wanted.all and wanted.expected not in {None, _tag(chosen)}:
                return _error(
                    HTTPStatus.CONFLICT,
                    f"Others are open by now, {len(chosen)} in all: nothing was done. Look again.",
                )
            if absent := ids - {each.letter.id for each in chosen}:
                names = ", ".join(map(str, sorted(absent)))
                return _error(HTTPStatus.NOT_FOUND, f"There is no dead letter at {names}: nothing was done.")
            with explained(self._settings):
                results = await work(chosen)
        log.warning("ops.dead_letters_handled", path=request.path, results=[_told(each) for each in results])
        return _json({"results": results})

    async def _alone(self, reading: Coroutine[Any, Any, T]) -> T:
        """What one reads from whole partitions; HTTPServiceUnavailable while too many wait for that."""
        if self._waiting >= WAITING:
            reading.close()
            raise web.HTTPServiceUnavailable(reason="Others are being looked up: try again.")
        self._waiting += 1
        try:
            async with self._reading:
                return await reading
        finally:
            self._waiting -= 1

    async def _open(self) -> list[Listed]:
        with explained(self._settings):
            return await self._watch.open()

    async def _chosen(self, ids: Collection[DeadLetterId]) -> list[Listed]:
        """Those that are open, and what was handled already or is not remembered."""
        known = [each for each in await self._watch.open() if each.letter.id in ids]
        others = frozenset(ids) - {each.letter.id for each in known}
        return known + (await find(self._settings, DeadLetterFilter(ids=others), silent) if others else [])

    def _id(self, text: str) -> DeadLetterId:
        try:
            found = DeadLetterId.parse(text)
        except ValueError as error:
            raise web.HTTPBadRequest(reason="An id is partition:offset.") from error
        if found.partition >= self._settings.partitions_of(DEAD_LETTERS.name):
            raise web.HTTPNotFound(reason=f"There is no partition {found.partition}.")
        return found


def _tag(listed: Collection[Listed]) -> str:
    """Names these dead letters and no others."""
    ids = "\n".join(sorted(str(each.letter.id) for each in listed))
    return blake2b(ids.encode(), digest_size=8).hexdigest()


def _told(result: Result) -> str:
    return f"{result.letter} {result.done}"


def _json(document: Any) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _error(status: HTTPStatus, text: str) -> web.Response:
    response = _json({"error": text})
    response.set_status(status)
    return response


def _read_files() -> dict[str, tuple[bytes, str]]:
    """The files of the page with their ETags, by name."""
    shared = [files(gateway.demo).joinpath("static", name) for name in _SHARED]
    found = {}
    for file in [*shared, *files(__package__).joinpath("static").iterdir()]:
        if file.name.rpartition(".")[2] in _TYPES:
            body = file.read_bytes()
            found[file.name] = (body, f'"{blake2b(body, digest_size=8).hexdigest()}"')
    return found
