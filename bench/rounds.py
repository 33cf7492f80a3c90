"""One round of the signal-engine's core: a frame of windows, one query, and the signals of the candles that are new.

At a boundary every market gets one candle, then all are judged: the second part is what is measured, on windows near
their greatest length. The bare query is what nobody can do without: the same indicators as plain polars-talib
expressions over the same frame. It runs in turn with the rounds, and the ratio is of processor time, so that it says
the same on a busy machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import polars as pl
import polars_talib as ta

from bench import boundary
from bench.markets import Markets
from bench.report import Figure
from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.rehearsal import rehearse
from signal_engine.strategies import BY_DEFAULT, STRATEGIES, AnyStrategy, Judgement, Params, Row, Strategy, build
from tocsin_common.events import Side
from tocsin_trading.timeframes import TIMEFRAME_MS

SYMBOLS, CANDLES, ROUNDS = 500, 500, 20
TIMEFRAME = "15m"
"""Judged by every shipped strategy."""

LIMIT_ALL_MS, LIMIT_ONE_MS, LIMIT_RATIO = 100.0, 40.0, 1.5

CLOSE, HIGH, LOW = pl.col("close"), pl.col("high"), pl.col("low")
BARE = [
    ta.ema(CLOSE, 50).over("window").alias("ema"),
    ta.rsi(CLOSE, 14).over("window").alias("rsi"),
    ta.macd(CLOSE, 12, 26, 9).over("window").alias("macd"),
    ta.bbands(CLOSE, 20, 2.0, 2.0).over("window").alias("bands"),
    ta.atr(HIGH, LOW, CLOSE, 14).over("window").alias("atr"),
    ta.adx(HIGH, LOW, CLOSE, 14).over("window").alias("adx"),
]


class SixIndicators(Strategy[Params]):
    """EMA, RSI, MACD, both Bollinger bands, ATR and ADX; goes with a trend that sets in."""

    name = "six_indicators"
    version = "1"
    params_type = Params

    def indicators(self) -> list[pl.Expr]:
        bands = [ind.bollinger_upper(20, 2.0), ind.bollinger_lower(20, 2.0)]
        return [ind.ema(50), ind.rsi(14), ind.macd_histogram(12, 26, 9), *bands, ind.adx(14)]

    def long(self) -> pl.Expr:
        trending = (pl.col("adx_14") > 20) & (pl.col("rsi_14") > 50) & (pl.col("close") > pl.col("ema_50"))
        inside = pl.col("close") < pl.col("bollinger_upper_20_2")
        return ind.crosses_above(pl.col("macd_histogram_12_26_9"), 0.0) & trending & inside

    def short(self) -> pl.Expr:
        trending = (pl.col("adx_14") > 20) & (pl.col("rsi_14") < 50) & (pl.col("close") < pl.col("ema_50"))
        inside = pl.col("close") > pl.col("bollinger_lower_20_2")
        return ind.crosses_below(pl.col("macd_histogram_12_26_9"), 0.0) & trending & inside

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=["the trend sets in"], features={"adx": row["adx_14"]})


class Spent(NamedTuple):
    """Milliseconds on the clock, and of processor time."""

    clock_ms: float
    cpu_ms: float


async def measure() -> list[Figure]:
    """Milliseconds of a round of all strategies, of one, and of the bare query; then a boundary."""
    everyone, _, carrying = rounds([build(name) for name in BY_DEFAULT])
    across, _, _ = rounds([build(name) for name in STRATEGIES])
    one, bare, _ = rounds([SixIndicators(Params())])
    of_all = f"round of all {len(BY_DEFAULT)} strategies, {SYMBOLS} symbols x {CANDLES} candles"
    of_one = "round of one strategy with EMA RSI MACD BB ATR ADX"
    more = len(STRATEGIES) - len(BY_DEFAULT)
    ratio = median_of(one).cpu_ms / median_of(bare).cpu_ms
    return [
        Figure(f"{of_all}, p50", median_of(everyone).clock_ms, "ms", LIMIT_ALL_MS, at_least=False),
        Figure(f"{of_all}, max: new hours above", max(everyone).clock_ms, "ms"),
        Figure(f"{of_all}, processor time p50", median_of(everyone).cpu_ms, "ms"),
        Figure("being ready for the candles after it, processor time p50", median_of(carrying).cpu_ms, "ms"),
        Figure("being ready for the candles after it, max: a new block, or after a start", max(carrying).cpu_ms, "ms"),
        Figure(f"with the {more} that look at the whole market, p50", median_of(across).clock_ms, "ms"),
        Figure(f"with the {more} that look at the whole market, processor time p50", median_of(across).cpu_ms, "ms"),
        Figure(f"{of_one}, p50", median_of(one).clock_ms, "ms", LIMIT_ONE_MS, at_least=False),
        Figure(f"{of_one}, max", max(one).clock_ms, "ms"),
        Figure("bare polars-talib query of the same, p50", median_of(bare).clock_ms, "ms"),
        Figure("round of one strategy as a ratio to it, processor time", ratio, "x", LIMIT_RATIO, at_least=False),
        *await boundary.measure(),
    ]


class Rounds(NamedTuple):
    """What rounds took, the bare query over the frame of each, and being ready for the candles after each."""

    took: list[Spent]
    bare: list[Spent]
    carrying: list[Spent]


def rounds(strategies: Sequence[AnyStrategy]) -> Rounds:
    """ROUNDS of them, on a warm engine."""
    engine, markets, found = Engine(strategies, [TIMEFRAME]), Markets(SYMBOLS, CANDLES + ROUNDS), Rounds([], [], [])
    rehearse(engine.evaluation)
    known = dict.fromkeys(engine.timeframes, 0)
    for at in range(CANDLES - 1, markets.candles):
        for timeframe, before in known.items():
            known[timeframe] = closed(markets, at, timeframe)
            engine.add(markets.events(timeframe, before, known[timeframe]), warm_up=at < CANDLES)
        if at >= CANDLES:
            frame = pl.concat(frame.whole() for frame in engine.windows.frames())
            found.bare.append(spent(partial(frame.with_columns, BARE)))
            found.took.append(spent(engine.evaluate))
        found.carrying.append(spent(engine.carry))
    return found


def closed(markets: Markets, at: int, timeframe: str) -> int:
    """How many candles of a timeframe have closed with one of TIMEFRAME."""
    to_come_ms = (markets.candles - 1 - at) * TIMEFRAME_MS[TIMEFRAME]
    return markets.candles + -to_come_ms // TIMEFRAME_MS[timeframe]


def spent(work: Callable[[], object]) -> Spent:
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return Spent(1_000 * (time.perf_counter() - began), 1_000 * (time.process_time() - cpu_began))


def median_of(figures: Sequence[Spent]) -> Spent:
    """The median on the clock and that of processor time."""
    return Spent(median(each.clock_ms for each in figures), median(each.cpu_ms for each in figures))
