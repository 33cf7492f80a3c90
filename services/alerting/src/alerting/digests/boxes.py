"""The lines that wait, by box, and which digests may be opened. Pure: told what is on DIGESTS, in order.

Everything here follows from the stream: whoever has read it up to anywhere opens the same digests in the same order. A
digest is named by the first line that waits in its box, and no other is opened there before it has ended. It is for all
lines from that one through the last it told, which its end says; so each line is in one digest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tocsin_common.events import SEVERITIES, AsideReason, ChannelName, DigestEnded, DigestLine, Severity
from tocsin_common.ids import derive

Address = tuple[str, ChannelName, int, str]
"""A box: its subscriber, channel, place and name."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A line that waits, at its sequence, with what is needed to settle its delivery."""

    seq: int
    delivery_id: str
    due_ms: int
    ts_ms: int
    reason: AsideReason
    severity: Severity


@dataclass(frozen=True, slots=True)
class Opening:
    """A digest that may be opened: whose it is, the first of its lines, and the most urgent severity among them."""

    subscriber_id: str
    channel: ChannelName
    place: int
    box: str
    first: Waiting
    severity: Severity

    @property
    def digest_id(self) -> str:
        return derive("digest", self.first.delivery_id)


@dataclass(slots=True)
class _Box:
    lines: deque[Waiting] = field(default_factory=deque)
    opened: bool = False


class Boxes:
    """All lines that no digest has told yet."""

    def __init__(self) -> None:
        self._boxes: dict[Address, _Box] = {}

    def __len__(self) -> int:
        return sum(len(box.lines) for box in self._boxes.values())

    def put(self, line: DigestLine, seq: int) -> None:
        """A line was put aside at a sequence of DIGESTS."""
        box = self._boxes.setdefault((line.subscriber_id, line.channel, line.place, line.box), _Box())
        box.lines.append(Waiting(seq, line.delivery_id, line.due_ms, line.ts_ms, line.reason, line.severity))

    def end(self, ended: DigestEnded) -> list[Waiting]:
        """A digest has ended: the lines that it was for, of those that still wait."""
        address = (ended.subscriber_id, ended.channel, ended.place, ended.box)
        box, told = self._boxes.get(address), []
        if box is None:
            return []
        while box.lines and box.lines[0].seq <= ended.through_seq:
            told.append(box.lines.popleft())
        box.opened = False
        if not box.lines:
            del self._boxes[address]
        return told

    def due(self, now_ms: int) -> Iterator[Opening]:
        """The digests that may go out now and are not open, each once."""
        for (subscriber_id, channel, place, name), box in self._boxes.items():
            if not box.opened and box.lines[0].due_ms <= now_ms:
                box.opened = True
                severity = min((line.severity for line in box.lines), key=SEVERITIES.index)
                yield Opening(subscriber_id, channel, place, name, box.lines[0], severity)

    @property
    def next_due_ms(self) -> int | None:
        """When the next digest may go out; None: none waits for that."""
        return min((box.lines[0].due_ms for box in self._boxes.values() if not box.opened), default=None)

    @property
    def floor_seq(self) -> int | None:
        """The sequence of the oldest line that waits; None: none waits."""
        return min((box.lines[0].seq for box in self._boxes.values()), default=None)
