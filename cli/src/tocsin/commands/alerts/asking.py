"""Putting questions to alerting, as an operator at this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import msgspec

from tocsin.console import UsageError
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Malformed, Rejected, Unreachable
from tocsin_common.events import DocumentKind
from tocsin_common.requests import Endpoint
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import MAX_PAGE, Actor, Shown

ACTOR = Actor(role="operator", via="cli")

ANSWER_S = 15.0

LOOK = "`list` shows what there is"
REMEDIES = {
    ("conflict", asked.PUT.subject): "somebody changed it meanwhile: look at it with `show`, then write it again",
    ("not_found", asked.GET.subject): LOOK,
    ("not_found", asked.DELETE.subject): LOOK,
}
"""What to do about a refusal, by its reason and what was asked."""

Q = TypeVar("Q", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


async def ask(bus: Bus, endpoint: Endpoint[Q, R], question: Q) -> R:
    """The answer. Raises UsageError with a remedy where it is refused, Unreachable."""
    try:
        return await bus.request(endpoint, question, timeout_s=ANSWER_S)
    except Rejected as error:
        detail = str(error).removeprefix(f"{error.reason}: ")
        remedy = REMEDIES.get((error.reason, endpoint.subject))
        raise UsageError(f"{detail} ({remedy})." if remedy else f"{detail}.") from error
    except Malformed as error:
        raise UsageError(str(error)) from error
    except Unreachable as error:
        raise Unreachable(f"{error}. Alerting answers while `tocsin up`, or the service, runs.") from error


async def every(bus: Bus, kind: DocumentKind) -> AsyncIterator[Shown]:
    """All documents of a kind, by id."""
    after: str | None = ""
    while after is not None:
        page = await ask(bus, asked.LIST, asked.ListRequest(actor=ACTOR, kind=kind, after=after, limit=MAX_PAGE))
        for one in page.items:
            yield one
        after = page.next_after


async def one(bus: Bus, kind: DocumentKind, document_id: str) -> Shown:
    """A document."""
    return await ask(bus, asked.GET, asked.GetRequest(actor=ACTOR, kind=kind, id=document_id))


async def revision_of(bus: Bus, kind: DocumentKind, document_id: str) -> int:
    """Which writing of a document there is; 0: none."""
    with suppress(Rejected):
        question = asked.GetRequest(actor=ACTOR, kind=kind, id=document_id)
        return (await bus.request(asked.GET, question, timeout_s=ANSWER_S)).revision
    return 0
