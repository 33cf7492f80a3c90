"""Signals set by hand on real trades and candles; what is expected comes from the slow row-by-row loop."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from paper_trader.simulation import Arrived, Simulation, Slice
from tocsin_common.documents import Portfolio
from tocsin_common.events import CandlesClosed, Event, OrderFilled, OutcomeMeasured, SignalRaised, TradesReceived

MINUTE_MS = 60_000
DAY_MS = 86_400_000
ROWS_PER_SLICE = 2_000

PORTFOLIOS = [
    Portfolio(portfolio_id="dollars"),
    Portfolio(portfolio_id="ether", currency="ETH", cash=Decimal(5), latency_ms=0, slippage_rate=Decimal(0)),
]


def signal(place: tuple[str, str], at_ms: int, side: str, entry: float, risk: float, life_ms: int) -> SignalRaised:
    """A signal with three targets at one, two and three times its risk."""
    sign = 1 if side == "long" else -1
    return SignalRaised(
        strategy="by_hand",
        strategy_version="1",
        params_hash="",
        exchange=place[0],
        symbol=place[1],
        timeframe="1m",
        candle_open_ms=at_ms - MINUTE_MS,
        confirmed_ms=at_ms,
        side="long" if sign > 0 else "short",
        confidence=60,
        entry=entry,
        stop=entry - sign * risk,
        targets=[entry + sign * risk * k for k in (1, 2, 3)],
        expires_ms=at_ms + life_ms,
        reasons=["by hand"],
    )


def every(frame: pl.DataFrame, place: tuple[str, str], step_ms: int, risk: float, life_ms: int) -> list[SignalRaised]:
    """A signal at the first price of every step, long and short in turn; `risk` as a fraction of the price."""
    found = []
    first = frame.with_columns(step=pl.col("ts_ms") // step_ms).group_by("step", maintain_order=True).first()
    for number, (step, price) in enumerate(first.select("step", "price").iter_rows()):
        at_ms = (step + 1) * step_ms
        found.append(signal(place, at_ms, "short" if number % 2 else "long", price, price * risk, life_ms))
    return found


def play(market: Sequence[TradesReceived | CandlesClosed], signals: Sequence[SignalRaised], end_ms: int) -> list[Event]:
    """The simulation, one slice per message."""
    simulation = Simulation()
    for portfolio in PORTFOLIOS:
        simulation.set_portfolio(portfolio)
    events: list[Event] = []
    given = sorted(signals, key=lambda each: each.confirmed_ms)
    for number, event in enumerate(market):
        until_ms = end_ms if number == len(market) - 1 else first_ms(market[number + 1])
        ready = [each for each in given if each.confirmed_ms <= until_ms]
        given = given[len(ready) :]
        events += simulation.advance(Slice(until_ms, [Arrived(event)], ready))
    return events


def first_ms(event: TradesReceived | CandlesClosed) -> int:
    return event.ts_ms[0] if isinstance(event, TradesReceived) else event.open_ms[0] + MINUTE_MS


def test_fills_on_real_trades_are_those_of_the_slow_loop(kit: Any, shared_data: Path) -> None:
    market: list[TradesReceived | CandlesClosed] = []
    signals: list[SignalRaised] = []
    for name, symbol, step_ms, risk in (
        ("binance_xrp_eth_2019-10", "XRP/ETH", 30 * MINUTE_MS, 0.004),
        ("binance_btc_eth_2024-08-08", "ETH/USDT", MINUTE_MS, 0.0004),
        ("kraken_bitstamp_sparse", "BTC/USD", DAY_MS, 0.01),
    ):
        frame = pl.read_parquet(shared_data / "trades" / f"{name}.parquet").filter(pl.col("symbol") == symbol)
        exchange = frame["exchange"][0]
        frame = frame.filter(pl.col("exchange") == exchange).sort("ts_ms", maintain_order=True)
        place = (exchange, symbol)
        signals += every(frame, place, step_ms, risk, 20 * step_ms)
        for start in range(0, len(frame), ROWS_PER_SLICE):
            rows = frame[start : start + ROWS_PER_SLICE]
            event = kit.trades(place, list(zip(rows["ts_ms"].to_list(), rows["price"].to_list(), strict=True)))
            market.append(with_ids(event, rows["trade_id"].to_list()))
    market.sort(key=first_ms)
    end_ms = max(event.ts_ms[-1] for event in market if isinstance(event, TradesReceived)) + 1
    events = play(market, signals, end_ms)
    expected = kit.slow(PORTFOLIOS, signals).run(kit.rows_of(market), end_ms)
    assert [kit.plain(event) for event in events] == expected
    assert_speaks(events, fills=50, results={"stop", "target_3", "expired"})
    assert_fills_name_real_trades(events, market)


def test_fills_on_real_candles_are_those_of_the_slow_loop(kit: Any, shared_data: Path) -> None:
    frame = pl.scan_parquet(shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet")
    symbols = ["BTC/USDT", "DOGE/USDT", "ETH/USDT"]
    start_ms = 1_621_382_400_000  # 2021-05-19 00:00 UTC, the day of the crash
    rows = frame.filter(pl.col("symbol").is_in(symbols), pl.col("ts_ms").is_between(start_ms, start_ms + DAY_MS - 1))
    day = rows.sort("ts_ms", "symbol").collect()
    market: list[TradesReceived | CandlesClosed] = []
    signals: list[SignalRaised] = []
    for symbol in symbols:
        mine = day.filter(pl.col("symbol") == symbol)
        place = ("binance", symbol)
        prices = mine.rename({"close": "price"})
        signals += every(prices, place, 20 * MINUTE_MS, 0.01, 90 * MINUTE_MS)
    for (opened,), minute in day.group_by(["ts_ms"], maintain_order=True):
        for row in minute.iter_rows(named=True):
            inside = [row["open"], row["high"], row["low"], row["close"]]
            market.append(kit.candle(("binance", row["symbol"]), "1m", opened, inside))
    events = play(market, signals, start_ms + DAY_MS + 1)
    expected = kit.slow(PORTFOLIOS, signals).run(kit.rows_of(market), start_ms + DAY_MS + 1)
    assert [kit.plain(event) for event in events] == expected
    assert_speaks(events, fills=50, results={"stop", "target_3", "expired"})


def with_ids(event: TradesReceived, ids: list[str | None]) -> TradesReceived:
    """The event with the trades' real ids."""
    columns = {name: getattr(event, name) for name in event.__struct_fields__}
    return TradesReceived(**{**columns, "trade_id": ids})


def assert_speaks(events: Sequence[Event], *, fills: int, results: set[str]) -> None:
    """The comparison was about something."""
    assert sum(isinstance(event, OrderFilled) for event in events) >= fills
    assert {event.result for event in events if isinstance(event, OutcomeMeasured)} >= results


def assert_fills_name_real_trades(events: Sequence[Event], market: Sequence[TradesReceived | CandlesClosed]) -> None:
    """Every fill's market price is the price of the trade it names, at the fill's time."""
    trades = {
        (event.exchange, event.symbol, name or str(ts), ts): price
        for event in market
        if isinstance(event, TradesReceived)
        for name, ts, price in zip(event.trade_id, event.ts_ms, event.price, strict=True)
    }
    for fill in events:
        if isinstance(fill, OrderFilled):
            price = trades[fill.exchange, fill.symbol, fill.basis_ref, fill.ts_ms]
            assert fill.market_price == Decimal(repr(price))
