"""What is older than the newest messages of a stream: the read API knows of it, the stream says it.

A row of the API names the subject and the market time of what was stored. From there the stream is walked until the
message with the wanted id comes, so what an answer is made of is never a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from alerting.gateway import Away, Gateway, Page
from tocsin_common import subjects
from tocsin_common.bus.protocol import PAGE_MESSAGES, Bus, Received
from tocsin_common.events import AlertKind, AlertRaised, AlertSuppressed
from tocsin_common.streams import ALERTS, FEEDS, OUTCOMES, PAPER, SIGNALS, Stream
from tocsin_common.subjects import encode_token

SKEW_MS = 60_000
"""The server's clock may be behind the market's, and one replica's behind another's, by so much."""

PAGES = 100
"""Most pages of a walk: 100,000 messages, some 5 s. In live markets the first one has it."""

PAGES_NEAR = 5
"""Most pages around a delivery: its alert is stored beside it, or after a restart."""

ROWS = 500

AWAY_S = 5.0
"""How long the API is left alone after it did not answer: who waits for `why` does not wait for it again and again."""

T = TypeVar("T")


class AlertRow(msgspec.Struct, frozen=True):
    """Where a decision is: its subject and time follow from these."""

    event_id: str
    decision: str
    rule_id: str
    ts_ms: int
    exchange: str | None
    symbol: str | None

    @property
    def subject(self) -> str:
        if self.decision == "raised":
            return subjects.alert_raised(self.rule_id, self.exchange or "", self.symbol or "")
        return subjects.alert_suppressed(self.rule_id)


class SignalRow(msgspec.Struct, frozen=True):
    """Where a signal is; without an id: there is none."""

    signal_id: str = ""
    exchange: str = ""
    symbol: str = ""
    timeframe: str = ""
    strategy: str = ""
    confirmed_ms: int = 0


class Archive:
    """Finds what is kept, however old. Where the API is away it says so in `away`, and is not asked for a while."""

    def __init__(self, bus: Bus, gateway: Gateway, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._gateway, self._clock = bus, gateway, clock
        self._ask_again_s = 0.0

    @property
    def away(self) -> bool:
        """Whether the API did not answer just now."""
        return self._clock() < self._ask_again_s

    async def alerts(self, wanted: str) -> list[Received]:
        """Every decision about an alert, or about whatever happened, by its id. Raises Unreachable."""
        rows: dict[str, AlertRow] = {}
        for name in ("alert_id", "cause_id"):
            page = await self._ask("/alerts", Page[AlertRow], {name: wanted, "order": "asc", "limit": ROWS})
            rows |= {row.event_id: row for row in page.items} if page else {}
        found = [await self._at(ALERTS, row.subject, row.event_id, row.ts_ms) for row in rows.values()]
        return sorted((one for one in found if one is not None), key=lambda message: message.seq)

    async def signal(self, wanted: str) -> Received | None:
        """A signal by its id. Raises Unreachable."""
        row = await self._ask(f"/signals/{wanted}", SignalRow, {})
        if row is None or not row.signal_id:
            return None
        subject = subjects.signal(row.exchange, row.symbol, row.timeframe, row.strategy)
        return await self._at(SIGNALS, subject, wanted, row.confirmed_ms)

    async def cause(self, cause_id: str, kind: AlertKind, alert: AlertRaised | AlertSuppressed) -> Received | None:
        """What an alert of a kind was about, where that is an event of its own. Raises Unreachable."""
        where = _where(kind, alert)
        return await self._at(*where, cause_id, alert.ts_ms) if where else None

    async def near(self, stored_ms: int, wanted: Callable[[Received], bool]) -> list[Received]:
        """The decisions stored around a moment that are `wanted`. Raises Unreachable."""
        found: list[Received] = []
        page = await self._bus.page(ALERTS, "alerts.>", since_ms=stored_ms - SKEW_MS)
        for _ in range(PAGES_NEAR):
            found += filter(wanted, page)
            if len(page) < PAGE_MESSAGES:
                break
            page = await self._bus.page(ALERTS, "alerts.>", after=page[-1].seq)
        return found

    async def _at(self, stream: Stream, subject: str, event_id: str, ts_ms: int) -> Received | None:
        """The message of an event of which the subject and the market time are known: it was stored after that."""
        page = await self._bus.page(stream, subject, since_ms=max(1, ts_ms - SKEW_MS))
        for _ in range(PAGES):
            for message in page:
                if message.message_id == event_id:
                    return message
            if len(page) < PAGE_MESSAGES:
                return None
            page = await self._bus.page(stream, subject, after=page[-1].seq)
        return None

    async def _ask(self, path: str, kind: type[T], params: dict[str, str | int]) -> T | None:
        """An answer of the API; None: it is away."""
        if self.away:
            return None
        try:
            return await self._gateway.get(path, kind, params, statuses=(404,))
        except Away:
            self._ask_again_s = self._clock() + AWAY_S
            return None


def _where(kind: AlertKind, alert: AlertRaised | AlertSuppressed) -> tuple[Stream, str] | None:
    """The stream that holds causes of a kind, and the subjects there; None: they are no events of their own."""
    exchange = encode_token(alert.exchange) if isinstance(alert, AlertRaised) else "*"
    symbol = encode_token(alert.symbol) if isinstance(alert, AlertRaised) and alert.symbol else "*"
    match kind:
        case "signal":
            return SIGNALS, f"signals.{exchange}.{symbol}.*.*"
        case "outcome":
            return OUTCOMES, f"outcomes.{exchange}.{symbol}.*.*"
        case "feed":
            return FEEDS, f"market.feed.{exchange}"
        case "paper":
            return PAPER, "paper.>"
    return None
