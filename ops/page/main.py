"""The process of the operations page: apart from the gateways, so that who looks is in no shopper's way."""

import structlog
from aiohttp import web

from ops.overview.collector import Collector
from ops.page.app import Page
from ops.page.settings import PageSettings
from runtime.failstop import Misconfigured
from runtime.process import Lifetime, run_process

log = structlog.get_logger(__name__)

NAME = "cartstream-ops"


def run(settings: PageSettings) -> None:
    """Serve until SIGTERM or SIGINT. Exits with 1 when the port is taken."""

    async def work(lifetime: Lifetime) -> None:
        await serve(settings, lifetime)

    run_process(NAME, settings, work)


async def serve(settings: PageSettings, lifetime: Lifetime) -> None:
    """Serve until cancelled. Raises Misconfigured when the port is taken."""
    async with Collector(settings) as collector:
        runner = web.AppRunner(Page(settings, collector).app(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.ops_host, settings.ops_port, shutdown_timeout=1)
            try:
                await site.start()
            except OSError as error:
                raise Misconfigured(
                    f"CARTSTREAM_OPS_PORT: {settings.ops_host}:{settings.ops_port} cannot be bound "
                    f"({error.strerror}); stop what listens there, or choose another port"
                ) from error
            if settings.ops_token is None:
                log.warning(
                    "ops.open", meaning="every user of this host may look, and retry or drop dead letters"
                )
            lifetime.ready()
            await collector.run()
        finally:
            await runner.cleanup()
