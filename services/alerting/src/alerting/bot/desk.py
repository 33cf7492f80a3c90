"""What commands answer from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from alerting.bot.identity import Identity
from alerting.bot.phrases import Phrases
from alerting.broadcasts import Broadcasts
from alerting.config import BotSection
from alerting.gateway import Candle, Gateway, Page, Signal
from alerting.management.core import Management
from alerting.picture.desk import Pictures
from alerting.verification.core import Verification
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import SignalRaised
from tocsin_common.report import Report

DRAWN = tuple(name for name in SignalRaised.__struct_fields__ if name in Signal.__struct_fields__)
"""What the API tells of a signal that is in its event too."""


@dataclass(slots=True)
class Desk:
    """`pictures` None: nothing is drawn. `min_count`: with fewer outcomes nothing is compared in reports. `username` is
    the bot's own."""

    settings: BotSection
    gateway: Gateway
    bus: Bus
    management: Management
    verification: Verification
    broadcasts: Broadcasts
    identity: Identity
    pictures: Pictures | None
    min_count: int = 10
    username: str = ""
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    async def candles(self, symbol: str, timeframe: str, count: int) -> Page[Candle]:
        """The newest closed candles of a symbol on the bot's exchange, newest first. Raises Away."""
        wanted: dict[str, str | int] = {
            "exchange": self.settings.exchange,
            "symbol": symbol,
            "timeframe": timeframe,
            "limit": count,
        }
        return await self.gateway.get("/candles", Page[Candle], wanted)

    async def report(self, *, from_ms: int, to_ms: int, zone: str) -> Report:
        """The report of a period. Raises Away."""
        return await self.gateway.get("/report", Report, {"from_ms": from_ms, "to_ms": to_ms, "zone": zone})

    async def draw(self, one: Signal) -> bytes | None:
        """The picture of a signal; None where there is none in time."""
        if self.pictures is None:
            return None
        fields = {name: getattr(one, name) for name in DRAWN}
        return await self.pictures.of(SignalRaised(**fields))

    def how_to_begin(self, say: Phrases) -> str:
        """How a stranger becomes a subscriber."""
        if self.settings.self_service:
            return say.plain("say.how_self")
        contact = self.settings.contact
        return say.plain("say.how_ask", contact=contact) if contact else say.plain("say.how_operator")
