"""Putting a request to alerting, and what its answers mean in HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import msgspec
import structlog
from fastapi import Request

from api_gateway.http.problems import ProblemError, unavailable
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import ApiKey
from tocsin_common.errors import Malformed, Rejected, Retryable, Unreachable
from tocsin_common.requests import Endpoint
from tocsin_common.requests.management import Actor

log = structlog.get_logger()

ANSWER_S = 15.0
"""Longer than any answer takes; the first `why` after a start reads a lot."""

STATUS = {
    "not_found": HTTPStatus.NOT_FOUND,
    "forbidden": HTTPStatus.FORBIDDEN,
    "conflict": HTTPStatus.PRECONDITION_FAILED,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "no_destination": HTTPStatus.NOT_FOUND,
    "unsubscribed": HTTPStatus.CONFLICT,
    "not_verifiable": HTTPStatus.CONFLICT,
    "channel_not_configured": HTTPStatus.CONFLICT,
    "asked_too_often": HTTPStatus.TOO_MANY_REQUESTS,
}
"""What alerting refuses; any other reason is a mistake of ours, or the receiver's of what was to be sent."""

KEY = "tocsin.key"
"""Where the middleware leaves the key of a request."""

Q = TypeVar("Q", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


def actor_of(request: Request) -> Actor:
    """For whom the key of a request stands."""
    key: ApiKey = request.scope[KEY]
    via = f"key {key.key_id}"[:100]
    if "operate" in key.scopes:
        return Actor(role="operator", via=via)
    return Actor(role="subscriber", subscriber_id=key.subscriber_id, via=via)


async def ask(bus: Bus, endpoint: Endpoint[Q, R], question: Q) -> R:
    """The answer, or a problem."""
    try:
        return await bus.request(endpoint, question, timeout_s=ANSWER_S)
    except Rejected as error:
        detail = str(error).removeprefix(f"{error.reason}: ")
        raise ProblemError(STATUS.get(error.reason, HTTPStatus.BAD_GATEWAY), detail) from error
    except Malformed as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except (Retryable, Unreachable) as error:
        log.warning("alerting does not answer", subject=endpoint.subject, error=str(error))
        raise unavailable("Alerting does not answer at the moment; try again.") from error
