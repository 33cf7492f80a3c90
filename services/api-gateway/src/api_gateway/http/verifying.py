"""Asking a destination whether it wants alerts; the answer comes by a link, a code or a challenge."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api_gateway.http.asking import actor_of, ask
from api_gateway.http.management import JSON, TAG
from api_gateway.http.parameters import Parameters, described, parse
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import ChannelName
from tocsin_common.requests.verification import VERIFY, VerifyRequest


class PlaceQuery(Parameters):
    channel: ChannelName = Field(description="The channel of the destination.")
    place: int = Field(default=0, ge=0, le=1000, description="Its number among those of its channel.")


class Asked(BaseModel):
    state: str = Field(description="sent: it got a code. confirmed: it said yes. open: send our bot `/start <code>`.")
    code: str = Field(description="For Telegram only.")
    expires_ms: int | None


def add_routes(router: APIRouter, bus: Bus) -> None:
    @router.post(
        "/subscribers/{subscriber_id:path}/verify",
        tags=[TAG],
        status_code=HTTPStatus.ACCEPTED,
        responses={202: {"model": Asked, "description": "Asked, or confirmed before."}},
        openapi_extra=described(PlaceQuery),
    )
    async def verify(request: Request, subscriber_id: Annotated[str, Path(min_length=1, max_length=200)]) -> Response:
        """Ask a destination whether it wants alerts, three times a day at most."""
        wanted = parse(PlaceQuery, request)
        question = VerifyRequest(
            actor=actor_of(request), subscriber_id=subscriber_id, channel=wanted.channel, place=wanted.place
        )
        found = await ask(bus, VERIFY, question)
        return Response(msgspec.json.encode(found), HTTPStatus.ACCEPTED.value, media_type=JSON)
