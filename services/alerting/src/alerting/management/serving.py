"""The endpoints that others ask over NATS: what goes out of here has no addresses and no secrets."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import msgspec

from alerting.kinds import KINDS, Held, Kind
from alerting.management import ledger
from alerting.management.core import Management
from alerting.management.drafts import completed
from alerting.management.redaction import shown
from alerting.management.trials import Trials
from alerting.why.answers import Why
from tocsin_common.bus.protocol import Bus
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import Deleted, ListReply, Shown

MAX_LIST_BYTES = 2 * 1024 * 1024
"""A page ends before it gets larger; half of what an answer may hold."""


class Documents:
    """Answers questions about rules, subscribers and silences."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def page(self, question: asked.ListRequest) -> ListReply:
        """A page of what the actor may see."""
        kind = KINDS[question.kind]
        found = self._management.page(question.actor, kind, after=question.after, limit=question.limit + 1)
        items: list[Shown] = []
        room = MAX_LIST_BYTES
        for held in found[: question.limit]:
            item = _shown(kind, held)
            room -= len(msgspec.json.encode(item))
            if items and room < 0:
                break
            items.append(item)
        return ListReply(items=items, next_after=items[-1].id if len(items) < len(found) else None)

    async def get(self, question: asked.GetRequest) -> Shown:
        """One document."""
        kind = KINDS[question.kind]
        return _shown(kind, await self._management.get(question.actor, kind, question.id))

    async def put(self, question: asked.PutRequest) -> Shown:
        """Write a document."""
        kind, actor = KINDS[question.kind], question.actor
        before = None
        if kind.name == "subscriber" and question.revision:
            before = (await self._management.get(actor, kind, question.id)).document
        document: Any = completed(actor, kind, question.id, question.document, before)
        return _shown(kind, await self._management.put(actor, kind, document, question.revision))

    async def delete(self, question: asked.DeleteRequest) -> Deleted:
        """Delete a document."""
        kind = KINDS[question.kind]
        revision = await self._management.delete(question.actor, kind, question.id, question.revision)
        return Deleted(kind=question.kind, id=question.id, revision=revision)


async def serve(stack: AsyncExitStack, bus: Bus, management: Management, trials: Trials, why: Why) -> None:
    """Answer for as long as `stack` lives."""
    documents = Documents(management)

    async def deliveries(question: asked.DeliveriesRequest) -> asked.DeliveriesReply:
        return await ledger.deliveries(bus, question)

    await stack.enter_async_context(bus.serve(asked.LIST, documents.page))
    await stack.enter_async_context(bus.serve(asked.GET, documents.get))
    await stack.enter_async_context(bus.serve(asked.PUT, documents.put))
    await stack.enter_async_context(bus.serve(asked.DELETE, documents.delete))
    await stack.enter_async_context(bus.serve(asked.SEND_TEST, trials.send))
    await stack.enter_async_context(bus.serve(asked.DELIVERY_LOG, deliveries))
    await stack.enter_async_context(bus.serve(asked.WHY, why.answer))


def _shown(kind: Kind[Any], held: Held[Any]) -> Shown:
    return Shown(kind=kind.name, id=kind.id_of(held.document), revision=held.revision, document=shown(held.document))
