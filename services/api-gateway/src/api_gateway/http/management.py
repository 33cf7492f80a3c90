"""Rules, subscribers and silences over HTTP: every request is put to alerting, for whom its key stands.

A document is at a revision, which is its ETag: who writes or deletes says which one they have seen.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from api_gateway.http import managed_models as models
from api_gateway.http.asking import actor_of, ask
from api_gateway.http.parameters import Parameters, Text, described, parse
from api_gateway.http.paths import PREFIX
from api_gateway.http.problems import ProblemError
from api_gateway.http.routes import shown
from tocsin_common.bus.protocol import Bus
from tocsin_common.decoding import UNREADABLE
from tocsin_common.documents import AlertRule, Silence, Subscriber
from tocsin_common.events import ChannelName, DocumentKind
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import MAX_PAGE, Shown

TAG = "rules, subscribers and silences"
JSON = "application/json"

BODY_S = 5.0
"""How long a body may take to come."""

_ETAG = re.compile(r'"([1-9][0-9]{0,18})"')

Id = Annotated[str, Path(min_length=1, max_length=200)]


@dataclass(frozen=True)
class Managed:
    """A kind of documents, and what its paths begin with. `schema` is that of a document."""

    kind: DocumentKind
    root: str
    schema: str


RULES = Managed("rule", "/rules", "AlertRule")
SUBSCRIBERS = Managed("subscriber", "/subscribers", "Subscriber")
SILENCES = Managed("silence", "/silences", "Silence")


class DocumentsQuery(Parameters):
    limit: int = Field(default=100, ge=1, le=MAX_PAGE, description="Most items in the answer.")
    cursor: str = Field(default="", max_length=200, description="`next_cursor` of the page before.")


class ChannelQuery(Parameters):
    channel: ChannelName | None = Field(default=None, description="Only the destinations of this channel.")


class LogQuery(Parameters):
    limit: int = Field(default=100, ge=1, le=MAX_PAGE, description="Most items in the answer.")
    before: int = Field(default=0, ge=0, description="`next_before` of the page before.")
    alert_id: str = Field(default="", max_length=200, description="Only deliveries of this alert.")


class WhyQuery(Parameters):
    subscriber_id: str = Field(default="", max_length=200, description="Only what concerns this subscriber.")


def add_routes(router: APIRouter, bus: Bus) -> None:
    _subscriber_things(router, bus)  # their paths are longer than those of documents, which would take them
    for managed in (RULES, SUBSCRIBERS, SILENCES):
        _reading(router, bus, managed)
        _writing(router, bus, managed)
    _why(router, bus)


def schemas() -> dict[str, Any]:
    """What documents look like, for the OpenAPI document."""
    template = "#/components/schemas/{name}"
    (rule, _, _), parts = msgspec.json.schema_components([AlertRule, Subscriber, Silence], ref_template=template)
    return {**parts, "AlertRule": rule}


def _reading(router: APIRouter, bus: Bus, managed: Managed) -> None:
    @router.get(managed.root, **shown(TAG, models.DocumentPage, DocumentsQuery), name=f"list_{managed.kind}s")
    async def page(request: Request) -> Response:
        """The documents that the key may see, by id."""
        wanted = parse(DocumentsQuery, request)
        question = asked.ListRequest(
            actor=actor_of(request), kind=managed.kind, after=wanted.cursor, limit=wanted.limit
        )
        found = await ask(bus, asked.LIST, question)
        items = [{"id": one.id, "revision": one.revision, "document": one.document} for one in found.items]
        following = urlencode({"limit": wanted.limit, "cursor": found.next_after or ""})
        link = f"{PREFIX}{managed.root}?{following}" if found.next_after else None
        return _json({"items": items, "next": link, "next_cursor": found.next_after})

    @router.get(f"{managed.root}/{{document_id:path}}", **_shows(managed), name=f"get_{managed.kind}")
    async def get(request: Request, document_id: Id) -> Response:
        """One document; its revision is the ETag."""
        question = asked.GetRequest(actor=actor_of(request), kind=managed.kind, id=document_id)
        return _document(await ask(bus, asked.GET, question))


def _writing(router: APIRouter, bus: Bus, managed: Managed) -> None:
    @router.put(f"{managed.root}/{{document_id:path}}", **_takes(managed), name=f"put_{managed.kind}")
    async def put(request: Request, document_id: Id) -> Response:
        """Write a document: `If-Match` names the revision it replaces, `If-None-Match: *` says that it is new."""
        revision = _replaced(request)
        question = asked.PutRequest(
            actor=actor_of(request),
            kind=managed.kind,
            id=document_id,
            document=await _body(request),
            revision=revision,
        )
        written = await ask(bus, asked.PUT, question)
        return _document(written, HTTPStatus.OK if revision else HTTPStatus.CREATED)

    @router.delete(f"{managed.root}/{{document_id:path}}", tags=[TAG], status_code=204, name=f"delete_{managed.kind}")
    async def delete(request: Request, document_id: Id) -> Response:
        """Delete a document: `If-Match` names its last revision."""
        question = asked.DeleteRequest(
            actor=actor_of(request), kind=managed.kind, id=document_id, revision=_replaced(request, new=False)
        )
        await ask(bus, asked.DELETE, question)
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _subscriber_things(router: APIRouter, bus: Bus) -> None:
    @router.post(
        "/subscribers/{subscriber_id:path}/test", **_opened(), status_code=202, openapi_extra=described(ChannelQuery)
    )
    async def send_test(request: Request, subscriber_id: Id) -> Response:
        """Send a real message that says it is a test. Asked again within seconds, it is not sent again."""
        wanted = parse(ChannelQuery, request)
        question = asked.SendTestRequest(actor=actor_of(request), subscriber_id=subscriber_id, channel=wanted.channel)
        return _json(await ask(bus, asked.SEND_TEST, question), HTTPStatus.ACCEPTED)

    @router.get("/subscribers/{subscriber_id:path}/deliveries", **shown(TAG, models.DeliveryLog, LogQuery))
    async def deliveries(request: Request, subscriber_id: Id) -> Response:
        """What happened to deliveries, newest first. A page may be empty and yet name a next one."""
        wanted = parse(LogQuery, request)
        question = asked.DeliveriesRequest(
            actor=actor_of(request),
            subscriber_id=subscriber_id,
            alert_id=wanted.alert_id,
            before=wanted.before,
            limit=wanted.limit,
        )
        found = await ask(bus, asked.DELIVERY_LOG, question)
        items = [{"seq": one.seq, **msgspec.to_builtins(one.change)} for one in found.items]
        return _json({"items": items, "next_before": found.next_before})


def _why(router: APIRouter, bus: Bus) -> None:
    @router.get("/why/{wanted_id}", **shown(TAG, models.WhyAnswer, WhyQuery))
    async def why(request: Request, wanted_id: Annotated[Text, Path()]) -> Response:
        """Why somebody did or did not get this: an alert, a delivery, a signal, by its id; or why a rule is silent."""
        wanted = parse(WhyQuery, request)
        question = asked.WhyRequest(actor=actor_of(request), id=wanted_id, subscriber_id=wanted.subscriber_id)
        return _json(await ask(bus, asked.WHY, question))


def _replaced(request: Request, *, new: bool = True) -> int:
    """The revision that a request names; 0: it says that there is none yet. Raises a problem where it says nothing."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if new and match is None and none == "*":
        return 0
    found = _ETAG.fullmatch(match or "")
    if found and none is None:
        return int(found[1])
    remedy = "send `If-Match` with the ETag you have read" + (", or `If-None-Match: *` for a new one" if new else "")
    raise ProblemError(HTTPStatus.PRECONDITION_REQUIRED, f"which revision is this about? {remedy}")


async def _body(request: Request) -> dict[str, Any]:
    """The document in a request; its length was checked before. Raises a problem."""
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.body()
        found = msgspec.json.decode(body)
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_S:g} s") from None
    except UNREADABLE as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "the body must be a JSON object: the document")
    return found


def _document(found: Shown, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _json(found.document, status, {"ETag": f'"{found.revision}"'})


def _json(body: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status.value, headers, JSON)


def _shows(managed: Managed) -> dict[str, Any]:
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{managed.schema}"}}}
    return {"tags": [TAG], "responses": {200: {"description": "Found.", "content": content}}}


def _takes(managed: Managed) -> dict[str, Any]:
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{managed.schema}"}}}
    problems = {
        412: {"description": "It is at another revision; read it again."},
        428: {"description": "The request does not say which revision it is about."},
    }
    responses = {200: {"description": "Written.", "content": content}, 201: {"description": "Made."}, **problems}
    return {
        "tags": [TAG],
        "responses": responses,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def _opened() -> dict[str, Any]:
    return {"tags": [TAG], "responses": {202: {"model": models.Opened, "description": "Under way."}}}
