"""What a sender does for digests: put a late delivery aside, say what a digest tells, and state that it has ended.

What a digest tells is read just before each request, so while its receiver is away, lines go on joining it. A request
that may have been taken fixes it: from then on the same is said again, word for word in what it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from alerting.channels import Message
from alerting.digests.compose import compose
from alerting.digests.later import line_of, with_late_ones
from alerting.digests.lines import lines_of, put_once
from alerting.sending.ledger import Work
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Subscriber
from tocsin_common.errors import Unreachable
from tocsin_common.events import TERMINAL_STATES, DeliveryChanged, DigestEnded, SendDue


@dataclass(frozen=True, slots=True)
class Telling:
    """The digests of one channel."""

    bus: Bus
    clock_ms: Callable[[], int]

    async def put_aside(self, due: SendDue, *, stored_ms: int, unreachable: bool) -> None:
        """Have a delivery wait whose ledger says so; it may be waiting already."""
        await put_once(
            self.bus,
            line_of(due, with_late_ones("late", self.clock_ms()), stored_ms=stored_ms, unreachable=unreachable),
        )

    async def said(self, work: Work, subscriber: Subscriber) -> tuple[Work, Message]:
        """What a digest tells now, and the work that remembers up to where. Raises Unreachable."""
        due, part = work.due, work.due.digest
        assert part is not None
        told = await lines_of(self.bus, due, part, through_seq=work.through_seq if work.doubtful else 0)
        voice = Voice.of(subscriber)
        content = compose(told.lines, due.channel, voice, now_ms=self.clock_ms())
        message = Message(
            delivery_id=due.delivery_id,
            alert_id=due.alert_id,
            title=content.title,
            text=content.text,
            fields=content.fields,
            ts_ms=told.lines[-1].ts_ms,
            silent=all(line.silent for line in told.lines),
            voice=voice,
        )
        return replace(work, through_seq=told.through_seq), message

    async def bounded(self, work: Work) -> Work:
        """A digest that ends without having been told is for the lines there are."""
        part = work.due.digest
        if part is None or work.through_seq:
            return work
        try:
            told = await lines_of(self.bus, work.due, part)
        except Unreachable:
            return replace(work, through_seq=part.first_seq)
        return replace(work, through_seq=told.through_seq)

    async def end(self, due: SendDue, last: DeliveryChanged | None) -> None:
        """State the end of a digest whose ledger ends with `last`, once."""
        if due.digest is None or last is None or last.state not in TERMINAL_STATES:
            return
        await put_once(
            self.bus,
            DigestEnded(
                digest_id=due.alert_id,
                delivery_id=due.delivery_id,
                subscriber_id=due.subscriber_id,
                channel=due.channel,
                place=due.place,
                box=due.digest.box,
                first_seq=due.digest.first_seq,
                through_seq=last.through_seq,
                state=last.state,
            ),
        )
