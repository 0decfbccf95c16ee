"""A stand-in for a schema registry: the part of Confluent's REST API that registering needs, in memory.

As the real one it numbers versions from 1, gives the same schema the same version again, and answers errors
with `error_code` and `message`. It knows one kind of incompatible: at a level other than NONE it refuses a
second version.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from aiohttp import web

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


class StandIn:
    """What is registered, by subject; who may ask, if not everybody."""

    def __init__(self, *, authorization: str | None = None) -> None:
        self.schemas: dict[str, list[str]] = {}
        self.levels: dict[str, str] = {}
        self.written = 0
        self.url = ""
        self._authorization = authorization

    def app(self) -> web.Application:
        """The routes, behind the proof."""
        app = web.Application()
        app.router.add_post("/subjects/{subject}", self._look_up)
        app.router.add_post("/subjects/{subject}/versions", self._register)
        app.router.add_get("/config/{subject}", self._level)
        app.router.add_put("/config/{subject}", self._set_level)
        return app

    async def _look_up(self, request: web.Request) -> web.Response:
        subject, text = await self._asked(request)
        if subject not in self.schemas:
            return error(HTTPStatus.NOT_FOUND, 40401, f"Subject '{subject}' not found.")
        if text not in self.schemas[subject]:
            return error(HTTPStatus.NOT_FOUND, 40403, "Schema not found")
        version = self.schemas[subject].index(text) + 1
        return answer({"subject": subject, "version": version, "id": version, "schema": text})

    async def _register(self, request: web.Request) -> web.Response:
        subject, text = await self._asked(request)
        known = self.schemas.setdefault(subject, [])
        if text not in known:
            if known and self.levels.get(subject, "BACKWARD") != "NONE":
                return error(HTTPStatus.CONFLICT, 409, "Schema being registered is incompatible")
            known.append(text)
            self.written += 1
        return answer({"id": known.index(text) + 1})

    async def _level(self, request: web.Request) -> web.Response:
        subject = request.match_info["subject"]
        if subject not in self.levels:
            return error(HTTPStatus.NOT_FOUND, 40408, f"Subject '{subject}' does not have a level")
        return answer({"compatibilityLevel": self.levels[subject]})

    async def _set_level(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.levels[request.match_info["subject"]] = body["compatibility"]
        self.written += 1
        return answer(body)

    async def _asked(self, request: web.Request) -> tuple[str, str]:
        if self._authorization not in {None, request.headers.get("authorization")}:
            refusal = json.dumps({"error_code": 40101, "message": "User is not authenticated"})
            raise web.HTTPUnauthorized(text=refusal, content_type=MEDIA_TYPE)
        assert request.content_type == MEDIA_TYPE
        body = await request.json()
        assert body["schemaType"] == "JSON"
        return request.match_info["subject"], body["schema"]


def answer(body: dict[str, object], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, content_type=MEDIA_TYPE)


def error(status: int, code: int, message: str) -> web.Response:
    return answer({"error_code": code, "message": message}, status)


@asynccontextmanager
async def running(registry: StandIn) -> AsyncIterator[StandIn]:
    """The stand-in, on a port of its own."""
    runner = web.AppRunner(registry.app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield registry
    finally:
        await runner.cleanup()
