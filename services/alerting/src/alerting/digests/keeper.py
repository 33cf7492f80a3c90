"""Opens every digest when it is due, and settles the deliveries of those that have ended.

One replica does it, under a lease: not because two would do harm (what they do follows from the stream DIGESTS, under
the same ids), but because once is enough. It keeps nothing that is not on DIGESTS: a snapshot says from where on lines
may still wait, and whatever is found after that is done again as far as its results are not stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import structlog

from alerting.digests.boxes import Boxes, Opening, Waiting
from alerting.metrics import Metrics
from alerting.pipeline import delivery_id_of, opening
from tocsin_common.bus.holding import while_held
from tocsin_common.bus.leases import Lease
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.decoding import decode
from tocsin_common.errors import Conflict, Malformed, Unreachable
from tocsin_common.events import DeliveryChanged, DigestEnded, DigestLine, DigestPart, SendDue
from tocsin_common.streams import DELIVERIES, DIGESTS, SNAPSHOTS
from tocsin_common.subjects import delivery

log = structlog.get_logger()

LEASE_KEY, SNAPSHOT_KEY = "alerting-digests", "alerting-digests"

TTL_MS = 24 * 3_600_000
"""How long a digest is tried: an outage of a night ends before it."""

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.01, 2.0

BATCH = 1_000


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """No line at or before `seq` waits; `stream` tells whether DIGESTS was made anew."""

    stream: str
    seq: int


class Keeper:
    """Run it in every replica; it waits where another one holds the lease."""

    def __init__(
        self,
        bus: Bus,
        lease: Lease,
        metrics: Metrics,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus = bus
        self._lease = lease
        self._metrics = metrics
        self._now_ms = clock_ms
        self._snapshots = bus.bucket(SNAPSHOTS)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        await while_held(self._lease, self._keep, stop)

    async def _keep(self, stop: asyncio.Event) -> None:
        try:
            await self._follow(stop)
        except Unreachable as error:
            log.warning("digests wait", error=str(error))

    async def _follow(self, stop: asyncio.Event) -> None:
        """Follow DIGESTS from where lines may wait. Raises Unreachable."""
        state = await self._bus.stream_state(DIGESTS)
        kept = await self._load(state.identity)
        boxes, read_seq = Boxes(), kept.seq
        following = self._bus.follow(DIGESTS, "digests.>", after=kept.seq)
        try:
            while not stop.is_set():
                messages = await following.fetch(BATCH, self._wait_s(boxes))
                for message in messages:
                    await self._take(boxes, message)
                    read_seq = message.seq
                if read_seq >= state.last_seq:
                    await self._open(boxes)
                    kept = await self._advance(kept, (boxes.floor_seq or read_seq + 1) - 1)
                self._metrics.digest_lines_waiting.set(len(boxes))
        finally:
            self._metrics.digest_lines_waiting.set(0)
            await following.close()

    def _wait_s(self, boxes: Boxes) -> float:
        """Until a digest is due, or not much longer than until `stop` may be set."""
        due_ms = boxes.next_due_ms
        if due_ms is None:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, (due_ms - self._now_ms()) / 1000))

    async def _take(self, boxes: Boxes, message: Received) -> None:
        try:
            event = message.event()
        except Malformed as error:
            log.error("not a line of a digest", seq=message.seq, problem=str(error))
            return
        if isinstance(event, DigestLine):
            boxes.put(event, message.seq)
        elif isinstance(event, DigestEnded):
            await self._settle(event, boxes.end(event))

    async def _open(self, boxes: Boxes) -> None:
        """The ledger first, then the work. One that was opened before is due again: its ledger knows better."""
        due: list[SendDue] = []
        for found in boxes.due(self._now_ms()):
            due.append(work_of(found, now_ms=self._now_ms()))
            with suppress(Conflict):
                await self._bus.append(opening(due[-1]), expected_last=0)
                self._metrics.digests.labels(found.channel, found.first.reason).inc()
        if due:
            await self._bus.publish(due)

    async def _settle(self, ended: DigestEnded, told: Sequence[Waiting]) -> None:
        """The deliveries of a digest's lines have ended with it, unless that is stored already."""
        lines = {line.delivery_id: line for line in told}
        subjects = {one: delivery(ended.channel, one) for one in lines}
        digested = []
        async for one, message in last_of(self._bus, DELIVERIES, subjects):
            last = message.event() if message else None
            if isinstance(last, DeliveryChanged) and last.state == "aside":
                digested.append(self._digested(last, lines[one], ended))
        await self._bus.publish(digested)

    def _digested(self, last: DeliveryChanged, line: Waiting, ended: DigestEnded) -> DeliveryChanged:
        return msgspec.structs.replace(
            last, state="digested", at_ms=self._now_ms(), reason=line.reason, provider_ref=ended.delivery_id
        )

    async def _load(self, identity: str) -> Snapshot:
        entry = await self._snapshots.get(SNAPSHOT_KEY)
        with suppress(Malformed):
            found = decode(entry.value if entry and entry.value else b"", Snapshot)
            if found.stream == identity:
                return found
        return Snapshot(stream=identity, seq=0)

    async def _advance(self, kept: Snapshot, seq: int) -> Snapshot:
        """Remember that everything through `seq` is settled."""
        if seq <= kept.seq:
            return kept
        moved = Snapshot(stream=kept.stream, seq=seq)
        await self._snapshots.put(SNAPSHOT_KEY, msgspec.json.encode(moved))
        return moved


def work_of(opening: Opening, *, now_ms: int) -> SendDue:
    """The work of a digest: what it says is not in it, but read when it is sent."""
    return SendDue(
        delivery_id=delivery_id_of(opening.digest_id, opening.subscriber_id, opening.channel, opening.place),
        alert_id=opening.digest_id,
        subscriber_id=opening.subscriber_id,
        channel=opening.channel,
        place=opening.place,
        title="",
        text="",
        fields={},
        ts_ms=opening.first.ts_ms,
        queued_ms=now_ms,
        deadline_ms=now_ms + TTL_MS,
        severity=opening.severity,
        digest=DigestPart(box=opening.box, first_seq=opening.first.seq),
    )
