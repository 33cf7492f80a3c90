"""Every event as it is on the wire, one golden file per type and version: they must decode to the same value for ever.

Where a type has grown, files named `<type>+<what came>` stand beside the first one, which keeps decoding. A changed
meaning is a new version with a file of its own; the old file stays and keeps decoding.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tocsin_common.events import (
    EVENT_TYPES,
    AlertRaised,
    AlertSuppressed,
    AnyEvent,
    CandlesClosed,
    ClockAdvanced,
    DeadLetter,
    DeliveryChanged,
    Difference,
    EquityMarked,
    Event,
    FeedChanged,
    FundingChanged,
    Holding,
    IndicatorsComputed,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    QuoteMoved,
    Risk,
    RoundsChanged,
    SendDue,
    SignalRaised,
    SignalSkipped,
    StrategyQuarantined,
    TickerUpdated,
    TradesReceived,
    decode,
    encode,
)
from tocsin_common.streams import stream_of

GOLDEN = Path(__file__).parent / "golden"
T0 = 1_700_000_000_000

KNOWN: dict[str, AnyEvent] = {
    "trades.v1": TradesReceived(
        exchange="binance",
        symbol="BTC/USDT:USDT",
        source="replay:trades.parquet",
        cursor=2,
        received_ms=T0 + 250,
        ts_ms=[T0, T0 + 1],
        price=[36_500.1, 36_500.0],
        amount=[0.001, 12.5],
        side="b-",
        trade_id=["1001", None],
        repaired=True,
    ),
    "candles.v1": CandlesClosed(
        exchange="kraken",
        symbol="ETH/EUR",
        timeframe="1m",
        origin="trades",
        open_ms=[T0, T0 + 60_000],
        open=[1_900.5, 1_901.0],
        high=[1_902.0, 1_901.0],
        low=[1_899.25, 1_901.0],
        close=[1_901.0, 1_901.0],
        volume=[3.125, 0.0],
        trades=[17, 0],
        revision=1,
    ),
    "candles.v1+difference": CandlesClosed(
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="5m",
        origin="exchange",
        open_ms=[T0],
        open=[36_500.1],
        high=[36_512.0],
        low=[36_490.5],
        close=[36_501.0],
        volume=[12.75],
        revision=1,
        difference=Difference(open=[0.0], high=[2.5], low=[0.0], close=[0.0], volume=[0.25]),
    ),
    "feed.v1": FeedChanged(
        exchange="binance",
        symbol="BTC/USDT",
        state="gap_filled",
        ts_ms=T0,
        from_ms=T0 - 5_000,
        to_ms=T0,
        from_id="1001",
        to_id="1005",
        trades=3,
        reason="disconnected",
    ),
    "quote.v1": QuoteMoved(
        exchange="binance",
        symbol="BTC/USDT",
        ts_ms=T0,
        received_ms=T0 + 30,
        bid=36_500.0,
        bid_amount=1.25,
        ask=36_500.1,
        ask_amount=None,
    ),
    "funding.v1": FundingChanged(
        exchange="binanceusdm",
        symbol="BTC/USDT:USDT",
        ts_ms=T0,
        received_ms=T0 + 30,
        rate=0.0001,
        due_ms=T0 + 3_600_000,
        mark_price=36_501.5,
    ),
    "ticker.v1": TickerUpdated(
        exchange="kraken",
        symbol="ETH/EUR",
        ts_ms=T0,
        received_ms=T0 + 30,
        last=1_901.0,
        high=1_950.0,
        low=1_880.5,
        change=-0.0125,
        base_volume=12_345.5,
        quote_volume=None,
    ),
    "clock.v1": ClockAdvanced(
        stage="signals",
        source="simulator",
        time_ms=T0,
        trades_seq=100,
        candles_seq=50,
        signals_seq=3,
        cursor=99,
        trades_from_seq=90,
        candles_from_seq=45,
        ended=True,
        totals={"read": 1_000, "late": 2},
    ),
    "clock.v1+counted": ClockAdvanced(
        stage="market",
        source="live",
        time_ms=T0,
        trades_seq=100,
        candles_seq=50,
        totals={"late": 2},
        counted={"a1b2": {"late": 1}, "c3d4": {"late": 1}},
    ),
    "signal.v1": SignalRaised(
        strategy="ema-cross",
        strategy_version="1",
        params_hash="0123abcd",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="5m",
        candle_open_ms=T0,
        confirmed_ms=T0 + 300_000,
        side="long",
        confidence=72,
        entry=36_500.0,
        stop=36_000.0,
        targets=[37_000.0, 37_500.0],
        expires_ms=T0 + 86_400_000,
        reasons=["fast EMA crossed above slow EMA"],
        features={"atr": 250.5},
    ),
    "signal.v1+risk": SignalRaised(
        strategy="fast-cross",
        strategy_version="2",
        params_hash="0123abcd",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="15m",
        candle_open_ms=T0,
        confirmed_ms=T0 + 900_000,
        side="short",
        confidence=40,
        entry=36_500.0,
        stop=37_000.0,
        targets=[36_000.0],
        expires_ms=T0 + 86_400_000,
        reasons=["fast EMA crossed below slow EMA"],
        definition="ema_cross",
        risk=Risk(
            stop_basis="structure",
            r=500.0,
            invalidation=36_900.0,
            equity=10_000.0,
            risk_percent=1.0,
            size=0.2,
            leverage_cap=5.0,
        ),
    ),
    "indicators.v1": IndicatorsComputed(
        exchange="binance",
        symbol="BTC/USDT:USDT",
        timeframe="15m",
        open_ms=T0,
        values={"rsi_14": 61.25, "ema_200": 36_480.5},
    ),
    "quarantine.v1": StrategyQuarantined(
        strategy="fast-cross",
        strategy_version="2",
        params_hash="0123abcd",
        reason="too_slow",
        error="still in judge (cross.py, line 12) after 10 s",
        at_ms=T0 + 900_000,
        definition="ema_cross",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="15m",
        candle_open_ms=T0,
    ),
    "rounds.v1": RoundsChanged(
        pace="recovered",
        at_ms=T0,
        candles_seq=50,
        waited_ms=1_250,
        took_ms=2_500,
        symbols=500,
        candles=1_500,
        longest="indicators",
        longest_ms=1_900,
        rounds=3,
    ),
    "outcome.v1": OutcomeMeasured(
        signal_id="abcdefghijklmnopqrstuvwxyz",
        strategy="ema-cross",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="5m",
        side="long",
        result="target_2",
        confirmed_ms=T0,
        ended_ms=T0 + 3_600_000,
        exit_price=37_500.0,
        r_multiple=2.0,
        mfe_r=2.1,
        mae_r=-0.4,
        targets_hit=2,
        basis="trades",
    ),
    "paper_opened.v1": PortfolioOpened(portfolio="main", n=1, ts_ms=T0, currency="USDT", cash=Decimal("10000.00")),
    "paper_fill.v1": OrderFilled(
        portfolio="main",
        n=2,
        ts_ms=T0,
        position_id="p1",
        signal_id="s1",
        exchange="binance",
        symbol="BTC/USDT",
        side="buy",
        reason="entry",
        amount=Decimal("0.02739726"),
        price=Decimal("36518.25"),
        market_price=Decimal("36500"),
        fee=Decimal("1.00050000001"),
        basis="trade",
        basis_ref="1001",
        position_amount=Decimal("0.02739726"),
        position_entry_price=Decimal("36518.25"),
        realised_pnl=Decimal("0"),
        cash_after=Decimal("8998.4999999999"),
    ),
    "paper_skip.v1": SignalSkipped(portfolio="main", n=3, ts_ms=T0, signal_id="s2", reason="position_open"),
    "paper_equity.v1": EquityMarked(
        portfolio="main",
        n=4,
        ts_ms=T0,
        cash=Decimal("8998.5"),
        holdings=[
            Holding(
                position_id="p1",
                exchange="binance",
                symbol="BTC/USDT",
                amount=Decimal("-0.5"),
                mark_price=Decimal("36500.5"),
                value=Decimal("-18250.25"),
            )
        ],
        equity=Decimal("-9251.75"),
    ),
    "alert.v1": AlertRaised(
        alert_id="a1",
        rule_id="r/1",
        kind="price",
        cause_id="1001",
        ts_ms=T0,
        exchange="binance",
        symbol="BTC/USDT",
        title="BTC/USDT above 36500",
        text="“36,500.1” – crossed",
        fields={"price": "36500.1"},
        subscribers=["ann", "bob"],
    ),
    "alert_suppressed.v1": AlertSuppressed(
        alert_id="a1", rule_id="r/1", cause_id="1001", subscriber_id="bob", ts_ms=T0, reason="muted"
    ),
    "delivery.v1": DeliveryChanged(
        delivery_id="d1",
        alert_id="a1",
        subscriber_id="ann",
        channel="telegram",
        state="sent",
        attempt=2,
        at_ms=T0,
        reason="rate_limited",
        provider_ref="42",
    ),
    "send.v1": SendDue(
        delivery_id="d1",
        alert_id="a1",
        subscriber_id="ann",
        channel="webhook",
        title="BTC/USDT above 36500",
        text="crossed",
        fields={"price": "36500.1"},
        ts_ms=T0,
        queued_ms=T0 + 5,
        deadline_ms=T0 + 600_000,
    ),
    "send.v1+signal": SendDue(
        delivery_id="d2",
        alert_id="a2",
        subscriber_id="ann",
        channel="telegram",
        title="Long BTC/USDT, 5m: EMA cross",
        text="Fast EMA crossed above slow EMA.",
        fields={"Entry": "36,500"},
        ts_ms=T0 + 300_000,
        queued_ms=T0 + 300_005,
        deadline_ms=T0 + 3_900_000,
        signal=SignalRaised(
            strategy="ema-cross",
            strategy_version="1",
            params_hash="0123abcd",
            exchange="binance",
            symbol="BTC/USDT",
            timeframe="5m",
            candle_open_ms=T0,
            confirmed_ms=T0 + 300_000,
            side="long",
            confidence=72,
            entry=36_500.0,
            stop=36_000.0,
            targets=[37_000.0, 37_500.0],
            expires_ms=T0 + 86_400_000,
            reasons=["fast EMA crossed above slow EMA"],
        ),
    ),
    "dead.v1": DeadLetter(
        service="alerting",
        stream="SIGNALS",
        seq=7,
        original_subject="signals.binance.BTC-USDT.5m.ema-cross",
        reason="malformed",
        error="Malformed: not a valid event",
        payload=b"\x00not json\xff",
    ),
}


def tag_of(kind: type[Event]) -> str:
    return str(kind.__struct_config__.tag)


@pytest.mark.parametrize("name", sorted({*KNOWN, *map(tag_of, EVENT_TYPES)}))
def test_every_event_type_has_a_golden_file_that_decodes_to_the_known_value(name: str) -> None:
    golden = GOLDEN / f"{name}.json"
    assert golden.exists(), f"{golden.name} is missing: write the event as it is on the wire"
    assert decode(golden.read_bytes()) == KNOWN[name]


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_written_today_can_be_read_by_yesterdays_readers(golden: Path) -> None:
    """Keys and values of the golden file are still written; new keys may have come."""
    then = json.loads(golden.read_bytes())
    now = json.loads(encode(decode(golden.read_bytes())))
    assert then.items() <= now.items()
    assert then["type"] == golden.stem.partition("+")[0]


@pytest.mark.parametrize("event", KNOWN.values(), ids=KNOWN)
def test_every_event_is_published_on_a_declared_stream_under_a_stable_id(event: AnyEvent) -> None:
    assert stream_of(event.subject)
    assert event.event_id == decode(encode(event)).event_id
    assert 0 < len(event.event_id) <= 64
