"""What happened to deliveries, read from the stream, newest first."""

from __future__ import annotations

from alerting.reasons import Refused
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Malformed, Rejected
from tocsin_common.events import DeliveryChanged
from tocsin_common.requests.management import DeliveriesReply, DeliveriesRequest, LedgerEntry
from tocsin_common.streams import DELIVERIES

WINDOW, WINDOWS = 2_000, 10
"""Messages read at a time, and how often before a page is handed out with what was found: about 0.2 s altogether."""


async def deliveries(bus: Bus, question: DeliveriesRequest) -> DeliveriesReply:
    """A page of the ledger, perhaps an empty one that says where to go on."""
    whose = _whose(question)
    state = await bus.stream_state(DELIVERIES)
    end = min(question.before - 1, state.last_seq) if question.before else state.last_seq
    items: list[LedgerEntry] = []
    for _ in range(WINDOWS):
        begin = max(end - WINDOW, state.first_seq - 1, 0)
        for message in reversed(await bus.reader(DELIVERIES, after=begin).through(end)):
            try:
                change = message.event()
            except Malformed:
                continue
            if isinstance(change, DeliveryChanged) and _wanted(change, whose, question.alert_id):
                items.append(LedgerEntry(seq=message.seq, change=change))
                if len(items) == question.limit:
                    return DeliveriesReply(items=items, next_before=message.seq)
        end = begin
        if end < max(state.first_seq, 1):
            return DeliveriesReply(items=items)
    return DeliveriesReply(items=items, next_before=end + 1)


def _whose(question: DeliveriesRequest) -> str:
    """Whose deliveries are asked for; empty: everybody's."""
    me, wanted = question.actor.subscriber_id, question.subscriber_id
    if question.actor.is_operator or wanted in ("", me):
        return me or wanted
    raise Rejected(Refused.NOT_FOUND, f"there is no subscriber {wanted!r}")


def _wanted(change: DeliveryChanged, subscriber_id: str, alert_id: str) -> bool:
    return subscriber_id in ("", change.subscriber_id) and alert_id in ("", change.alert_id)
