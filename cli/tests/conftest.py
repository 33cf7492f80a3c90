"""A small market that kept every rule, for tests that break one rule at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tocsin.audit.facts import Facts, collect
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import (
    AlertRaised,
    CandlesClosed,
    ClockAdvanced,
    DeliveryChanged,
    DigestEnded,
    DigestLine,
    EquityMarked,
    Event,
    Holding,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    SignalRaised,
    TradesReceived,
)
from tocsin_common.ids import derive

START_MS = 1_700_000_100_000  # a 5m boundary
MINUTE_MS = 60_000
MARKET = {"exchange": "simulator", "symbol": "BTC/USDT"}
PRICES = [100.0, 101.0, 99.0, 102.0, 103.0, 104.0, 103.5, 105.0, 104.5, 106.0]
"""One trade of amount 0.5 in the middle of each of ten minutes."""


@pytest.fixture
def honest() -> list[Event]:
    """Ten minutes of one market: trades, candles, a signal that reaches its target, its alert and its paper trade."""
    signal = _signal()
    return [
        _trades(),
        _candles("1m", [[price] for price in PRICES]),
        _candles("5m", [PRICES[:5], PRICES[5:]]),
        _mark("market"),
        signal,
        _mark("signals"),
        *_alerting(signal),
        *_paper(signal),
        _outcome(signal),
    ]


@pytest.fixture
def facts_of() -> Callable[[Sequence[Event]], Coroutine[Any, Any, Facts]]:
    """Publishes events to an empty bus, and reads back what an audit sees when everything is settled."""

    async def read(events: Sequence[Event]) -> Facts:
        bus = MemoryBus()
        await bus.publish(events)
        facts = await collect(bus)
        facts.settled = facts.last_mark("signals")
        facts.alerted_seq = facts.streams["SIGNALS"].last_seq
        return facts

    return read


def _trades() -> TradesReceived:
    return TradesReceived(
        **MARKET,
        source="simulator:1",
        cursor=10,
        received_ms=START_MS,
        ts_ms=[START_MS + minute * MINUTE_MS + 30_000 for minute in range(len(PRICES))],
        price=PRICES,
        amount=[0.5] * len(PRICES),
        side="b" * len(PRICES),
        trade_id=[str(number) for number in range(len(PRICES))],
    )


def _candles(timeframe: str, groups: list[list[float]]) -> CandlesClosed:
    length = len(groups[0]) * MINUTE_MS
    return CandlesClosed(
        **MARKET,
        timeframe=timeframe,
        origin="trades",
        open_ms=[START_MS + position * length for position in range(len(groups))],
        open=[group[0] for group in groups],
        high=[max(group) for group in groups],
        low=[min(group) for group in groups],
        close=[group[-1] for group in groups],
        volume=[0.5 * len(group) for group in groups],
        trades=[len(group) for group in groups],
    )


def _mark(stage: str) -> ClockAdvanced:
    totals = {"trades_read": 10, "trades_published": 10, "trades_late": 0, "trades_rejected": 0}
    return ClockAdvanced(
        stage=stage,
        source="simulator:1",
        time_ms=START_MS + 10 * MINUTE_MS,
        trades_seq=1,
        candles_seq=2,
        signals_seq=1 if stage == "signals" else 0,
        cursor=10,
        totals=totals,
    )


def _signal() -> SignalRaised:
    return SignalRaised(
        strategy="ema_cross",
        strategy_version="1",
        params_hash="p",
        **MARKET,
        timeframe="1m",
        candle_open_ms=START_MS + 2 * MINUTE_MS,
        confirmed_ms=START_MS + 3 * MINUTE_MS,
        side="long",
        confidence=70,
        entry=99.0,
        stop=97.0,
        targets=[103.0],
        expires_ms=START_MS + 8 * MINUTE_MS,
        reasons=["crossed"],
    )


def _outcome(signal: SignalRaised) -> OutcomeMeasured:
    return OutcomeMeasured(
        signal_id=signal.signal_id,
        strategy=signal.strategy,
        **MARKET,
        timeframe="1m",
        side="long",
        result="target_1",
        confirmed_ms=signal.confirmed_ms,
        ended_ms=START_MS + 4 * MINUTE_MS + 30_000,
        exit_price=103.0,
        r_multiple=2.0,
        mfe_r=2.0,
        mae_r=0.0,
        targets_hit=1,
        basis="trades",
    )


def _alerting(signal: SignalRaised) -> list[Event]:
    alert = AlertRaised(
        alert_id="a1",
        rule_id="r1",
        kind="signal",
        cause_id=signal.signal_id,
        ts_ms=signal.confirmed_ms,
        **MARKET,
        title="BTC/USDT long",
        text="crossed",
        fields={},
        subscribers=["me"],
    )
    steps = [("queued", 0), ("attempting", 1), ("retrying", 1), ("attempting", 2), ("sent", 2)]
    return [alert, *(_step(state, attempt, at) for at, (state, attempt) in enumerate(steps)), *_digest(signal)]


def _digest(signal: SignalRaised) -> list[Event]:
    """Another delivery of the alert came late, so it was told in a digest of its own."""
    line = DigestLine(
        delivery_id="d2",
        alert_id="a1",
        subscriber_id="me",
        channel="console",
        place=1,
        box="late",
        due_ms=START_MS,
        reason="late",
        kind="signal",
        symbol=signal.symbol,
        strategy=signal.strategy,
        ts_ms=signal.confirmed_ms,
        stored_ms=START_MS,
        title="BTC/USDT long",
        text="crossed",
        fields={},
    )
    ended = DigestEnded(
        digest_id=derive("digest", "d2"),
        delivery_id="d3",
        subscriber_id="me",
        channel="console",
        place=1,
        box="late",
        first_seq=1,
        through_seq=1,
        state="sent",
    )
    steps = [("queued", 0), ("attempting", 1), ("sent", 1)]
    told = [_step(state, attempt, at, "d3", ended.digest_id) for at, (state, attempt) in enumerate(steps)]
    digested = msgspec.structs.replace(_step("digested", 0, 3, "d2"), provider_ref="d3")
    return [_step("queued", 0, 0, "d2"), _step("aside", 0, 1, "d2"), line, *told, ended, digested]


def _step(state: Any, attempt: int, at: int, delivery_id: str = "d1", alert_id: str = "a1") -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id=delivery_id,
        alert_id=alert_id,
        subscriber_id="me",
        channel="console",
        state=state,
        attempt=attempt,
        at_ms=START_MS + at,
    )


def _paper(signal: SignalRaised) -> list[Event]:
    held = Holding(
        position_id="p1",
        **MARKET,
        amount=Decimal("0.1"),
        mark_price=Decimal("103"),
        value=Decimal("10.3"),
    )
    entered, left = START_MS + 3 * MINUTE_MS + 30_000, START_MS + 4 * MINUTE_MS + 30_000
    opened = PortfolioOpened(portfolio="demo", n=1, ts_ms=START_MS, currency="USDT", cash=Decimal(1000))
    bought = _fill(signal, n=2, ts_ms=entered, side="buy", price="102", ref="3", after="0.1", cash="989.7898", pnl="0")
    marked = EquityMarked(
        portfolio="demo",
        n=3,
        ts_ms=left,
        cash=Decimal("989.7898"),
        holdings=[held],
        equity=Decimal("1000.0898"),
    )
    sold = _fill(signal, n=4, ts_ms=left, side="sell", price="103", ref="4", after="0", cash="1000.0795", pnl="0.0795")
    end = EquityMarked(
        portfolio="demo", n=5, ts_ms=left, cash=Decimal("1000.0795"), holdings=[], equity=Decimal("1000.0795")
    )
    return [opened, bought, marked, sold, end]


def _fill(
    signal: SignalRaised, *, n: int, ts_ms: int, side: Any, price: str, ref: str, after: str, cash: str, pnl: str
) -> OrderFilled:
    """A fill of 0.1 at `price`, with a fee of 0.0001 per unit of price."""
    return OrderFilled(
        portfolio="demo",
        n=n,
        ts_ms=ts_ms,
        position_id="p1",
        signal_id=signal.signal_id,
        **MARKET,
        side=side,
        reason="entry" if side == "buy" else "target_1",
        amount=Decimal("0.1"),
        price=Decimal(price),
        market_price=Decimal(price),
        fee=Decimal(price) * Decimal("0.0001"),
        basis="trade",
        basis_ref=ref,
        position_amount=Decimal(after),
        position_entry_price=Decimal(102),
        realised_pnl=Decimal(pnl),
        cash_after=Decimal(cash),
    )
