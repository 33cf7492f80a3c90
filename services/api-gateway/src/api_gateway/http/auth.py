"""Who may ask: bearer keys, checked before anything else looks at a request.

Without any key in the bucket the API answers only where it can be reached from this machine alone, and only to
requests addressed to it by a loopback name (a page in a browser cannot rebind its own name to us).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway.http.asking import KEY
from api_gateway.http.links import is_link
from api_gateway.http.paths import MANAGED_ROOTS, PREFIX
from api_gateway.http.problems import ProblemError, unavailable
from api_gateway.keys import Keyring

FOR_EVERYBODY = frozenset({f"{PREFIX}/openapi.json", f"{PREFIX}/health"})
"""What every key opens."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tocsin"'}


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Authentication:
    """ASGI middleware: answers 401 or 403 itself, or lets the request through. Links in messages are their own key."""

    def __init__(self, app: ASGIApp, keyring: Keyring, bound_host: str) -> None:
        self._app, self._keyring, self._open_when_empty = app, keyring, is_loopback(bound_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if not is_link(scope["path"]):
                self._check(scope)
        except ProblemError as error:
            await error.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if not self._keyring.loaded.is_set():
            raise unavailable("API keys are not loaded yet; try again.")
        headers = Headers(scope=scope)
        if self._keyring.empty:
            self._check_without_keys(headers)
            return _check_scopes((), scope["path"])
        token = _token(headers)
        if token is None:
            raise _unauthorized("an API key is required: send the header `Authorization: Bearer tcs_...`")
        key = self._keyring.owner(token, now_ms=time.time_ns() // 1_000_000)
        if key is None:
            raise _unauthorized("the API key is unknown, wrong or expired")
        _check_scopes(key.scopes, scope["path"])
        scope[KEY] = key
        return None

    def _check_without_keys(self, headers: Headers) -> None:
        if not self._open_when_empty:
            raise _unauthorized(
                "no API key exists yet: make one with `tocsin keys create NAME` and send it as a header"
            )
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if not is_loopback(name):
            raise ProblemError(HTTPStatus.FORBIDDEN, "without API keys only requests to a loopback host are answered")


def _check_scopes(scopes: Collection[str], path: str) -> None:
    """What is managed is for keys that manage or operate; all else is for those that read. No scopes: no key yet."""
    if f"/{path.removeprefix(f'{PREFIX}/').partition('/')[0]}" in MANAGED_ROOTS:
        if not {"manage", "operate"} & set(scopes):
            remedy = "`tocsin keys create NAME --scope operate`, or `--scope manage --subscriber ID`"
            raise ProblemError(HTTPStatus.FORBIDDEN, f"this takes an API key that manages or operates: {remedy}")
    elif scopes and "read" not in scopes and path not in FOR_EVERYBODY:
        raise ProblemError(HTTPStatus.FORBIDDEN, "the API key lacks the scope `read`")


def _token(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return headers.get("x-api-key")


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers=_CHALLENGE)
