"""The API, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from api_gateway.http import links, management, routes, stream, summaries, verifying
from api_gateway.http.auth import Authentication
from api_gateway.http.guard import Guard
from api_gateway.http.models import Problem
from api_gateway.http.paths import PREFIX
from api_gateway.http.problems import MEDIA_TYPE, add_handlers
from api_gateway.keys import Keyring
from api_gateway.live import Hub
from api_gateway.metrics import Metrics
from api_gateway.store import Store
from tocsin_common.bus.protocol import Bus
from tocsin_common.health import Health

_DESCRIPTION = """
Signal history, outcomes, alerts, deliveries and paper portfolios of Tocsin, and a live stream of them. Rules,
subscribers and silences are changed here too.

Times are milliseconds UTC. Money is a decimal string. Lists are pages: follow `next` until it is null. Every request
carries an API key (`Authorization: Bearer tcs_...` or `X-API-Key`), never in the URL. Errors are problem documents.
"""
_PROBLEMS = {
    401: "No API key, or one that is not valid.",
    403: "The API key does not allow this.",
    422: "A parameter is wrong; it is named.",
    503: "The database or the bus is away; `Retry-After` says when to try again.",
}


@dataclass(frozen=True)
class Parts:
    """What the API answers from. `bound_host` is the address it listens on."""

    store: Store
    bus: Bus
    hub: Hub
    keyring: Keyring
    metrics: Metrics
    health: Health
    projector_state: Callable[[], str]
    bound_host: str


def create_app(parts: Parts) -> ASGIApp:
    """The ASGI application: limits and headers, then keys, then routes."""
    app = _Api(
        title="Tocsin",
        description=_DESCRIPTION,
        version=version("tocsin-api-gateway"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to whatever host the request names
        middleware=[
            Middleware(Guard, metrics=parts.metrics, live_route=f"{PREFIX}/stream"),
            Middleware(Authentication, keyring=parts.keyring, bound_host=parts.bound_host),
        ],
        responses=_problem_responses(),
    )
    add_handlers(app)
    links.add_routes(app.router, parts.bus)
    app.router.prefix = PREFIX  # routes of the application itself: matching an included router's costs more
    routes.add_routes(app.router, parts.store)
    summaries.add_routes(app.router, parts.store, parts.bus, parts.health, parts.projector_state)
    stream.add_routes(app.router, parts.bus, parts.hub)
    management.add_routes(app.router, parts.bus)
    verifying.add_routes(app.router, parts.bus)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Also say how a key is sent; the check itself is the middleware's."""
        document = super().openapi()
        document["components"]["schemas"] |= management.schemas()
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "tcs_<key id>_<secret>"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
        return document


def _problem_responses() -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": text, "model": Problem, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, text in _PROBLEMS.items()
    }
