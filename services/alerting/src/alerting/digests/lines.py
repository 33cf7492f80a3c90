"""The stream DIGESTS: every line and every end is there once, however often it is put there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tocsin_common.bus.protocol import PAGE_MESSAGES, Bus, Received
from tocsin_common.errors import Conflict, Malformed, Unreachable
from tocsin_common.events import DigestEnded, DigestLine, DigestPart, SendDue
from tocsin_common.streams import DIGESTS
from tocsin_common.subjects import digest_lines

MAX_PAGES = 20
"""A digest looks at no more pages of lines; what comes behind them is for the next one."""


@dataclass(frozen=True, slots=True)
class Told:
    """The lines of a digest, in the order of the market, and the sequence of the last one put aside."""

    lines: list[DigestLine]
    through_seq: int


async def put_once(bus: Bus, fact: DigestLine | DigestEnded) -> None:
    """Store a line or an end unless it is there. Ids are forgotten after the duplicate window, subjects are not."""
    with suppress(Conflict):
        await bus.append(fact, expected_last=0)


async def lines_of(bus: Bus, due: SendDue, part: DigestPart, *, through_seq: int = 0) -> Told:
    """What a digest is to tell: the lines of its box there are now, or (given) up to a sequence and no further.

    Raises Unreachable when there are none: the first one is known to be stored.
    """
    found: list[tuple[int, DigestLine]] = []
    after = part.first_seq - 1
    for _ in range(MAX_PAGES):
        page = await bus.page(DIGESTS, digest_lines(due.channel, due.subscriber_id), after=after)
        read = ((message.seq, _line(message)) for message in page)
        found += [(seq, line) for seq, line in read if line and (line.place, line.box) == (due.place, part.box)]
        after = page[-1].seq if page else after
        if len(page) < PAGE_MESSAGES or 0 < through_seq <= after:
            break
    told = [(seq, line) for seq, line in found if seq <= through_seq or not through_seq]
    if not told:
        raise Unreachable(f"the lines of the digest {due.delivery_id} are not on DIGESTS")
    in_order = sorted(told, key=lambda one: (one[1].ts_ms, one[0]))
    return Told([line for _, line in in_order], through_seq=told[-1][0])


def _line(message: Received) -> DigestLine | None:
    with suppress(Malformed):
        event = message.event()
        return event if isinstance(event, DigestLine) else None
    return None
