"""What was handled, on the stream BOT: an update is handled by whoever writes the first entry of its ledger.

Telegram keeps an update until a later one is asked for, so nothing else has to be remembered: after a restart what is
not confirmed comes again, and the ledger tells what of it was handled. An answer is recorded before it is sent. One
that a crash left between the two may have been sent or not; it is not sent again, and stands here as `unknown`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from alerting.bot.asked import Asked
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Conflict
from tocsin_common.events import BotAsked, BotOutcome, BotState
from tocsin_common.streams import BOT
from tocsin_common.subjects import bot_update

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is recorded of a command. `subscriber_id` is empty for a stranger."""

    command: str
    outcome: BotOutcome = "ok"
    reason: str = ""
    subscriber_id: str = ""


class Ledger:
    """The ledgers of one bot's updates."""

    def __init__(
        self, bus: Bus, bot_id: str, *, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._bus = bus
        self._bot_id = bot_id
        self._now_ms = clock_ms

    async def handled(self, update_id: int) -> bool:
        """Whether an update was handled before; an answer left in doubt by a crash is closed as such."""
        message = await self._bus.last(BOT, bot_update(self._bot_id, update_id))
        if message is None:
            return False
        last = message.event()
        assert isinstance(last, BotAsked)
        if last.state == "answering":
            await self.close(last, message.seq, "unknown", INTERRUPTED)
        return True

    async def open(self, asked: Asked, who: str, verdict: Verdict, state: BotState) -> tuple[BotAsked, int] | None:
        """The first entry and its sequence; None: somebody else was faster, and the answer is theirs."""
        now_ms = self._now_ms()
        entry = BotAsked(
            bot=self._bot_id,
            update_id=asked.update_id,
            state=state,
            who=who,
            subscriber_id=verdict.subscriber_id,
            chat="private" if asked.private else "group",
            command=verdict.command,
            outcome=verdict.outcome,
            at_ms=now_ms,
            took_ms=max(now_ms - asked.received_ms, 0),
            reason=verdict.reason,
        )
        try:
            stored = await self._bus.append(entry, expected_last=0)
        except Conflict:
            return None
        if stored.duplicate:
            first = await self._bus.last(BOT, entry.subject)
            if first is None or first.event() != entry:
                return None
        return entry, stored.seq

    async def close(self, entry: BotAsked, seq: int, state: BotState, reason: str = "") -> BotAsked:
        """The last entry. Somebody else may have closed it meanwhile: then theirs stands."""
        now_ms = self._now_ms()
        took_ms = entry.took_ms + max(now_ms - entry.at_ms, 0)
        closed = msgspec.structs.replace(
            entry, state=state, reason=reason or entry.reason, at_ms=now_ms, took_ms=took_ms
        )
        try:
            await self._bus.append(closed, expected_last=seq)
        except Conflict:
            return entry
        return closed
