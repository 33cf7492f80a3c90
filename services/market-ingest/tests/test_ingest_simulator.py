"""The simulated market: the same for a seed, warm from the start, alive enough for strategies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from market_ingest.columns import CandleRows, TradeRows
from market_ingest.config import SimulatorSettings
from market_ingest.sources.chunk import Chunk
from market_ingest.sources.simulator import START_MS, SimulatorSource
from market_ingest.validate import check_candles, check_instrument, check_trades
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

HOUR_MS = 3_600_000


async def first_chunks(settings: SimulatorSettings, count: int, cursor: int = 0) -> list[Chunk]:
    found: list[Chunk] = []
    async for chunk in SimulatorSource(settings).chunks(cursor):
        found.append(chunk)
        if len(found) == count:
            return found
    raise AssertionError("a simulation does not end")


def rows_of(chunks: Sequence[Chunk]) -> list[tuple[str, list[float], list[float], list[str | None]]]:
    found: dict[str, list[TradeRows]] = {}
    for chunk in chunks:
        for rows in chunk.trades:
            found.setdefault(rows.instrument.symbol, []).append(rows)
    return [
        (
            symbol,
            [ts for rows in some for ts in rows.trades.ts_ms.tolist()],
            [price for rows in some for price in rows.trades.price.tolist()],
            [name for rows in some for name in rows.trades.trade_id],
        )
        for symbol, some in found.items()
    ]


def settings(**changes: object) -> SimulatorSettings:
    return SimulatorSettings.model_validate({"seed": 5, "speed": 0, "symbols": ["BTC/USDT", "DOGE/USDT"], **changes})


async def test_the_same_seed_gives_the_same_market_and_another_seed_another() -> None:
    first, again = await first_chunks(settings(), 30), await first_chunks(settings(), 30)
    other = await first_chunks(settings(seed=6), 30)
    assert rows_of(first) == rows_of(again)
    assert rows_of(first) != rows_of(other)


async def test_a_symbol_trades_the_same_whatever_the_others_are() -> None:
    alone = await first_chunks(settings(symbols=["DOGE/USDT"]), 10)
    (doge,) = (row for row in rows_of(await first_chunks(settings(), 10)) if row[0] == "DOGE/USDT")
    assert rows_of(alone) == [doge]


async def test_it_goes_on_at_any_cursor() -> None:
    whole = await first_chunks(settings(), 20)
    rest = await first_chunks(settings(), 10, cursor=whole[9].cursor)
    assert rows_of(rest) == rows_of(whole[10:])
    middle = whole[5].cursor + 30_500
    (part,) = await first_chunks(settings(), 1, cursor=middle)
    (hour,) = await first_chunks(settings(), 1, cursor=whole[5].cursor)
    assert all(ts >= START_MS + middle - 1 for _, stamps, *_ in rows_of([part]) for ts in stamps)
    assert set(rows_of([hour])[0][1]) & set(rows_of([part])[0][1])


async def test_history_comes_first_complete_and_in_every_timeframe() -> None:
    history, *_ = await first_chunks(settings(history_candles=100), 2)
    assert not history.trades
    by_key = {(rows.instrument.symbol, rows.timeframe): rows for rows in history.candles}
    assert by_key.keys() == {(symbol, name) for symbol in ("BTC/USDT", "DOGE/USDT") for name in TIMEFRAMES}
    for (_, timeframe), rows in by_key.items():
        assert rows.origin == "history"
        open_ms = rows.candles.open_ms
        assert set(np.diff(open_ms)) <= {TIMEFRAME_MS[timeframe]}
        assert open_ms[-1] + TIMEFRAME_MS[timeframe] == START_MS
        assert not check_candles(rows.candles, TIMEFRAME_MS[timeframe], START_MS).any()
    assert all(len(by_key["BTC/USDT", name].candles) == 100 for name in ("1m", "5m", "15m", "1h"))


async def test_trades_pass_the_checks_and_go_on_where_history_ended() -> None:
    history, *chunks = await first_chunks(settings(trades_per_minute=30), 200)
    for chunk in chunks:
        for rows in chunk.trades:
            trades = rows.trades
            assert check_instrument(rows.instrument) is None
            assert not check_trades(trades.ts_ms, trades.price, trades.amount, chunk.clock_ms).any()
            assert (np.diff(trades.ts_ms) >= 0).all()
            assert trades.ts_ms[-1] < chunk.clock_ms
    for symbol, _, prices, names in rows_of(chunks):
        assert abs(prices[0] / last_close(history.candles, symbol) - 1) < 0.02
        assert len(set(names)) == len(names)


async def test_volatility_comes_in_spells() -> None:
    _, *chunks = await first_chunks(settings(symbols=["BTC/USDT"], trades_per_minute=5), 24 * 60)
    ((_, stamps, prices, _),) = rows_of(chunks)
    hours = (np.array(stamps) - START_MS) // HOUR_MS
    moves = [np.diff(np.log(np.array(prices)[hours == hour])).std() for hour in range(23)]
    assert max(moves) > 3 * min(moves)


def last_close(history: Sequence[CandleRows], symbol: str) -> float:
    (minutes,) = (rows for rows in history if rows.instrument.symbol == symbol and rows.timeframe == "1m")
    return float(minutes.candles.close[-1])
