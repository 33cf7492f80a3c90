"""The outermost middleware: limits, security headers, metrics, and the last resort for bugs."""

from __future__ import annotations

import time
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.http.problems import ProblemError, problem
from api_gateway.metrics import Metrics

log = structlog.get_logger()

MAX_BODY_BYTES = 16 * 1024
"""Of a document; endpoints that take none ignore a small body."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware around everything else. `live_route` is left out of the latency histogram."""

    def __init__(self, app: ASGIApp, metrics: Metrics, live_route: str) -> None:
        self._app, self._metrics, self._live_route = app, metrics, live_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            _check_body(Headers(scope=scope))
            await self._app(scope, receive, send_guarded)
        except ProblemError as error:
            await error.response()(scope, receive, send_guarded)
        except Exception:
            log.exception("request failed", method=scope["method"], route=_route(scope))
            if status:
                raise
            detail = "An error of ours; it is in the log."
            await problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, send_guarded)
        finally:
            self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.requests.labels(_method(scope), route, str(status)).inc()
        if route != self._live_route:
            self._metrics.request_s.labels(route).observe(seconds)
        log.debug("request", method=scope["method"], route=route, status=status, seconds=seconds)


def _check_body(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        detail = f"no body above {MAX_BODY_BYTES} bytes is accepted, and none of unknown length"
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers={"Connection": "close"})


def _route(scope: Scope) -> str:
    """The route's template, so that the label is bounded; `(none)` where nothing matched or nobody was let in."""
    return getattr(scope.get("route"), "path", "(none)")


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
