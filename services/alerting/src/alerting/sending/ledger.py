"""The ledger of one channel's deliveries: what is written is written only where we left it.

Of two workers that read the same entry, one goes on and the other looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerting.channels import Original
from alerting.sending.clock import ClockMs
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Conflict, Retryable
from tocsin_common.events import ChannelName, DeliveryChanged, DeliveryState, SendDue
from tocsin_common.streams import DELIVERIES
from tocsin_common.subjects import delivery

LOOK_AGAIN_S = 1.0
"""Another worker wrote first: what it wrote is known soon."""


@dataclass(frozen=True, slots=True)
class Work:
    """A due delivery with its ledger: the last entry's sequence and reason, and how many requests were started.

    `doubtful`: one that did not succeed may have been taken. `through_seq`: up to where a digest was told last.
    """

    due: SendDue
    seq: int
    attempt: int = 0
    doubtful: bool = False
    through_seq: int = 0
    reason: str = ""

    @classmethod
    def after(cls, last: DeliveryChanged | None, due: SendDue, seq: int) -> Work:
        """As the ledger's last entry, at `seq`, leaves it."""
        if last is None:
            return cls(due, seq)
        doubtful = last.doubtful or last.state == "attempting"
        return cls(due, seq, last.attempt, doubtful, last.through_seq, last.reason)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Reads and appends entries of one channel."""

    bus: Bus
    channel: ChannelName
    clock_ms: ClockMs

    async def read(self, due: SendDue) -> tuple[DeliveryChanged | None, int]:
        """The last entry (None: there is none) and its sequence."""
        message = await self.bus.last(DELIVERIES, delivery(self.channel, due.delivery_id))
        if message is None:
            return None, 0
        change = message.event()
        assert isinstance(change, DeliveryChanged)
        return change, message.seq

    async def first_sent(self, delivery_ids: Sequence[str]) -> Original | None:
        """The first of these that was sent. Raises Unreachable."""
        asked = {one: delivery(self.channel, one) for one in delivery_ids}
        async for delivery_id, message in last_of(self.bus, DELIVERIES, asked):
            change = message.event() if message else None
            if isinstance(change, DeliveryChanged) and change.state == "sent":
                return Original(delivery_id, change.provider_ref)
        return None

    async def record(
        self, work: Work, state: DeliveryState, attempt: int, *, reason: str = "", reference: str = ""
    ) -> Work:
        """Append where we left it. Raises Retryable when somebody else was there in the meantime.

        A receipt that says "stored before" may answer our own repeated request: then the entry is ours to the last
        millisecond.
        """
        change = DeliveryChanged(
            delivery_id=work.due.delivery_id,
            alert_id=work.due.alert_id,
            subscriber_id=work.due.subscriber_id,
            channel=self.channel,
            state=state,
            attempt=attempt,
            at_ms=self.clock_ms(),
            reason=reason,
            provider_ref=reference,
            doubtful=work.doubtful,
            through_seq=work.through_seq,
        )
        try:
            stored = await self.bus.append(change, expected_last=work.seq)
        except Conflict:
            raise Retryable("raced", retry_after_s=LOOK_AGAIN_S) from None
        if stored.duplicate and await self.read(work.due) != (change, stored.seq):
            raise Retryable("raced", retry_after_s=LOOK_AGAIN_S)
        return replace(work, seq=stored.seq, attempt=attempt, reason=reason)
