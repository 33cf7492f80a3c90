"""Does a strategy look into the future? Every signal is judged again by somebody who does not know it.

All signals of the whole history are set against those found when the data end at a cut. Right after every signal's
candle there is one: whatever the signal took from a later candle, of its own symbol, of a higher timeframe or of the
whole market, is not there any more. At further cuts, drawn at random, every market is looked at: nothing may be found
there that the whole history does not show. A signal must be equal in every field, so features that were peeked at are
found, too.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from signal_engine.comparison import Mismatch, mismatches
from signal_engine.evaluation import Evaluation, order
from signal_engine.history import signals_of
from signal_engine.market import closed_by, markets_of
from signal_engine.quarantine import Quarantine
from signal_engine.strategies import AnyStrategy
from signal_engine.window import BLOCK_CANDLES
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

Instrument = tuple[str, str]
"""Exchange and symbol."""

LONGEST_MS = max(TIMEFRAME_MS.values())

Progress = Callable[[int, int], None]
"""Told how many cuts of how many have been looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one strategy: its signals on the whole history, and the candles that differ, oldest first.

    The left side of a mismatch is the whole history, the right one the data that end at a cut. A strategy that `broke`
    anywhere has nothing proven.
    """

    signals: int
    differing: Sequence[Mismatch]
    broke: Quarantine | None


class Past:
    """Candles of every market as they stood at a moment, as far back as an evaluation of the last block reaches."""

    def __init__(self, candles: pl.DataFrame, reach_candles: int) -> None:
        self._reach_candles = reach_candles
        self._series: dict[Instrument, list[tuple[int, list[int], pl.DataFrame]]] = defaultdict(list)
        keys = ("exchange", "symbol", "timeframe")
        for (exchange, symbol, timeframe), rows in candles.group_by(*keys, maintain_order=True):
            length_ms = TIMEFRAME_MS[str(timeframe)]
            ordered = rows.sort("open_ms")
            closes_ms = (ordered["open_ms"] + length_ms).to_list()
            self._series[str(exchange), str(symbol)].append((length_ms, closes_ms, ordered))

    @property
    def instruments(self) -> Collection[Instrument]:
        return self._series.keys()

    def closes_ms(self) -> list[int]:
        """Every moment at which some candle closed."""
        return sorted({at for series in self._series.values() for _, closes_ms, _ in series for at in closes_ms})

    def until(self, cut_ms: int, instruments: Iterable[Instrument]) -> pl.DataFrame:
        """The candles of some instruments that had closed by then."""
        parts = []
        for instrument in instruments:
            for length_ms, closes_ms, rows in self._series[instrument]:
                end = bisect_right(closes_ms, cut_ms)
                start = bisect_right(closes_ms, cut_ms - self._reach_candles * length_ms, hi=end)
                parts.append(rows[start:end])
        return pl.concat(parts)


def check_lookahead(
    strategies: Sequence[AnyStrategy],
    candles: pl.DataFrame,
    *,
    timeframes: Sequence[str] | None = None,
    cuts: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Mapping[str, Verdict]:
    """A verdict for each strategy, by the name it runs under, over all candles and timeframes (see `signals_of`);
    `cuts` is how many are drawn at random, beside those after every signal."""
    broken: dict[str, Quarantine] = {}

    def broke(one: Quarantine) -> None:
        broken.setdefault(one.strategy.instance, one)

    whole = signals_of(strategies, candles, timeframes=timeframes, broke=broke)
    evaluation = Evaluation(strategies)
    past = Past(candles, evaluation.warm_up_candles + 2 * BLOCK_CANDLES)
    markets = markets_of(candles) if evaluation.across else {}
    confirmed_ms = [signal.confirmed_ms for signal in whole]
    plan = [*_after(whole).items(), *_drawn(past, cuts, seed)]
    differing: dict[str, dict[str, Mismatch]] = {strategy.instance: {} for strategy in strategies}
    for done, (cut_ms, instruments) in enumerate(plan, 1):
        since = bisect_right(confirmed_ms, cut_ms - LONGEST_MS * BLOCK_CANDLES)
        known = whole[since : bisect_right(confirmed_ms, cut_ms)]
        there, closed = past.until(cut_ms, instruments), closed_by(cut_ms, markets)
        seen = signals_of(strategies, there, timeframes=timeframes, markets=closed, broke=broke)
        near = (_near(signals, cut_ms, instruments) for signals in (known, seen))
        for mismatch in mismatches(*near):
            differing[mismatch.signal.strategy].setdefault(mismatch.signal.signal_id, mismatch)
        progress(done, len(plan))
    counts = Counter(signal.strategy for signal in whole)
    return {
        name: Verdict(counts[name], sorted(some.values(), key=lambda one: order(one.signal)), broken.get(name))
        for name, some in differing.items()
    }


def _after(whole: Iterable[SignalRaised]) -> Mapping[int, Collection[Instrument]]:
    """A cut after every signal's candle, and whose candles are looked at there."""
    cuts: dict[int, set[Instrument]] = defaultdict(set)
    for signal in whole:
        cuts[signal.confirmed_ms].add((signal.exchange, signal.symbol))
    return cuts


def _drawn(past: Past, cuts: int, seed: int) -> list[tuple[int, Collection[Instrument]]]:
    moments = past.closes_ms()
    return [(at, past.instruments) for at in random.Random(seed).sample(moments, min(cuts, len(moments)))]


def _near(signals: Iterable[SignalRaised], cut_ms: int, instruments: Collection[Instrument]) -> list[SignalRaised]:
    """Those of the last BLOCK_CANDLES candles of their series before a cut: as far back the data there are whole."""
    return [
        signal
        for signal in signals
        if signal.confirmed_ms > cut_ms - BLOCK_CANDLES * TIMEFRAME_MS[signal.timeframe]
        and (signal.exchange, signal.symbol) in instruments
    ]
