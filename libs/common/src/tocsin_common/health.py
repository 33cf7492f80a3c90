"""`/livez`, `/readyz` and `/metrics` of a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[str | None]]
"""Returns None when healthy, otherwise a sentence that says what is wrong."""


@dataclass
class Health:
    """What readiness consists of: named checks, all asked on every request. Live means: the event loop answers."""

    registry: CollectorRegistry
    checks: dict[str, Check] = field(default_factory=dict)

    async def problems(self) -> dict[str, str]:
        """The checks that fail, each with its sentence."""
        found = {}
        for name, check in self.checks.items():
            try:
                problem = await check()
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                found[name] = problem
        return found

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = await self.problems()
        body = {"status": "not ready" if problems else "ok", "checks": sorted(self.checks), "problems": problems}
        return web.json_response(body, status=503 if problems else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(health: Health, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start the server; returns its runner (for cleanup) and the port it got."""
    runner = web.AppRunner(health.app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]
