"""Errors as problem documents (RFC 9457): what was wrong, where, and what to do; never internals."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tocsin_common.errors import Retryable, Unreachable

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2


class ProblemError(Exception):
    """Answered as a problem document of this status."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        self.status, self.detail, self.headers, self.errors = status, detail, headers, errors
        super().__init__(detail)

    def response(self) -> Response:
        return problem(self.status, self.detail, headers=self.headers, errors=self.errors)


def wrong_parameter(name: str, detail: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {detail}", errors=[{"parameter": name, "detail": detail}]
    )


def not_found(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def unavailable(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """A problem document; `errors` names single parameters."""
    body: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    if errors:
        body["errors"] = errors
    return Response(msgspec.json.encode(body), status.value, headers, MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Turn every error an endpoint can raise into a problem document."""

    @app.exception_handler(ProblemError)
    async def _problem(_request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        errors = [{"parameter": str(item["loc"][1]), "detail": _expectation(item)} for item in error.errors()]
        detail = "; ".join(f"{item['parameter']}: {item['detail']}" for item in errors)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path}; see /api/v1/openapi.json for what there is"
        return problem(HTTPStatus(error.status_code), detail, headers=error.headers)

    @app.exception_handler(Retryable)
    @app.exception_handler(Unreachable)
    async def _away(_request: Request, error: Exception) -> Response:
        log.warning("cannot answer", error=str(error))
        return unavailable(_excuse(error)).response()


def _excuse(error: Exception) -> str:
    if isinstance(error, Unreachable):
        return "The message bus does not answer at the moment; try again."
    if isinstance(error, Retryable) and error.reason == "too_slow":
        return "The query took too long: narrow the time range or add filters."
    return "The database does not answer at the moment; try again."


def _expectation(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown parameter"
    text = str(item["msg"]).removeprefix("Value error, ")
    return text[0].lower() + text[1:]
