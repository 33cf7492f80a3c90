"""When live signals and those of all of history may honestly differ.

- `unknown`: a live signal of a strategy, version, parameters or timeframe that the configuration does not have.
- `warm_up`: history judges a candle of origin `history`; live it only warmed the engine up.
- `late`: a late candle of the symbol was not there yet when the live signal was judged, or it is that candle's own.
- `late_for_market`: the same of any candle of the market that came behind its mark; for strategies that look at it.
- `aged_out`: the stream does not go back any more to where the window of the signal's candle begins.
- `unsettled`: confirmed after the engine's last mark; live it may still wait for a candle of a higher timeframe.
- `quarantined`: its strategy was off: between its last signal before a quarantine and its first one after.

Nothing else is an excuse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from signal_engine.comparison import Mismatch
from signal_engine.engine import END_OF_TIME_MS
from signal_engine.evaluation import Evaluation
from signal_engine.market import Market
from signal_engine.recording import Instrument, Names, Recording
from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy
from signal_engine.window import BLOCK_CANDLES
from tocsin_common.events import SignalRaised, StrategyQuarantined
from tocsin_trading.timeframes import TIMEFRAME_MS

Reason = Literal["unknown", "warm_up", "late", "late_for_market", "aged_out", "unsettled", "quarantined"]


class Judges:
    """What the engine was configured with: strategies, the timeframes they judge, and whose money sizes are for."""

    def __init__(
        self, strategies: Sequence[AnyStrategy], timeframes: Sequence[str], sizing: Sizing | None = None
    ) -> None:
        self.strategies, self.timeframes, self.sizing = strategies, timeframes, sizing
        evaluation = Evaluation(strategies)
        self.warm_up_candles = evaluation.warm_up_candles
        self.higher = evaluation.higher_of(timeframes)
        self._known = {_identity(one) for one in strategies}
        self.across = frozenset(_identity(one) for one in strategies if one.market())

    def know(self, signal: SignalRaised) -> bool:
        """Whether a signal can be of theirs."""
        return _strategy(signal) in self._known and signal.timeframe in self.timeframes

    def reach_ms(self, since_ms: int) -> Mapping[str, int]:
        """By timeframe, the oldest open time that a signal confirmed from `since_ms` on can depend on."""
        candles = self.warm_up_candles + 2 * BLOCK_CANDLES
        return {timeframe: since_ms - candles * length_ms for timeframe, length_ms in TIMEFRAME_MS.items()}


@dataclass(frozen=True, slots=True)
class Live:
    """What the streams hold up to the engine's last mark, of `settled_ms`. `trimmed`: CANDLES lost its beginning."""

    recording: Recording
    signals: Sequence[SignalRaised]
    quarantines: Sequence[StrategyQuarantined]
    settled_ms: int
    trimmed: bool


class Excuses:
    """Knows why a live signal may be absent, or another one. `candles` is the recording's frame."""

    def __init__(self, judges: Judges, live: Live, candles: pl.DataFrame) -> None:
        self._judges = judges
        self._settled_ms = live.settled_ms
        self._oldest_ms = live.recording.oldest_ms if live.trimmed else {}
        self._warming = _warming(candles)
        self._late = _late(candles)
        self._late_for_market = _late_for_market(candles) if judges.across else {}
        self._off = [(_strategy(event), *_off(event, live.signals)) for event in live.quarantines]

    def reason(self, mismatch: Mismatch) -> Reason | None:
        """Why live (left) and history (right) honestly differ; None: they may not."""
        signal, missing = mismatch.signal, mismatch.left is None
        if missing and (*_names(signal), signal.candle_open_ms) in self._warming:
            return "warm_up"
        if _within(signal, self._late.get((signal.exchange, signal.symbol), ())):
            return "late"
        if _strategy(signal) in self._judges.across and _within(signal, self._late_for_market.get(_market(signal), ())):
            return "late_for_market"
        if any(start_ms < self._oldest_ms.get(names, start_ms) for names, start_ms in self._windows(signal)):
            return "aged_out"
        if missing and signal.confirmed_ms > self._settled_ms:
            return "unsettled"
        spans = ((since_ms, until_ms) for strategy, since_ms, until_ms in self._off if strategy == _strategy(signal))
        return "quarantined" if missing and _within(signal, spans) else None

    def _windows(self, signal: SignalRaised) -> Iterator[tuple[Names, int]]:
        """Every series the signal was judged on, and where its window begins (see `Windows`)."""
        for timeframe in (signal.timeframe, *self._judges.higher.get(signal.timeframe, ())):
            length_ms = TIMEFRAME_MS[timeframe]
            block_ms, open_ms = BLOCK_CANDLES * length_ms, signal.confirmed_ms // length_ms * length_ms - length_ms
            names = (signal.exchange, signal.symbol, timeframe)
            yield names, open_ms // block_ms * block_ms - self._judges.warm_up_candles * length_ms


def _within(signal: SignalRaised, spans: Iterable[tuple[int, int]]) -> bool:
    return any(since_ms <= signal.confirmed_ms <= until_ms for since_ms, until_ms in spans)


def _warming(candles: pl.DataFrame) -> Collection[tuple[str, str, str, int]]:
    return set(candles.filter("warm_up").select("exchange", "symbol", "timeframe", "open_ms").iter_rows())


def _late(candles: pl.DataFrame) -> Mapping[Instrument, Sequence[tuple[int, int]]]:
    """By instrument, the times of confirmation in which a late candle was not there yet."""
    spans: dict[Instrument, list[tuple[int, int]]] = defaultdict(list)
    late = candles.filter(pl.col("late_from_ms").is_not_null())
    columns = ("exchange", "symbol", "late_from_ms", "late_to_ms")
    for exchange, symbol, since_ms, until_ms in late.select(columns).iter_rows():
        spans[exchange, symbol].append((since_ms, until_ms))
    return spans


def _late_for_market(candles: pl.DataFrame) -> Mapping[Market, Sequence[tuple[int, int]]]:
    """By market, the times of confirmation in which a candle of it was not there although a mark had passed it."""
    spans: dict[Market, list[tuple[int, int]]] = defaultdict(list)
    behind = candles.filter(pl.col("passed_ms").is_not_null())
    columns = ("exchange", "symbol", "timeframe", "close_ms", "passed_ms")
    for exchange, symbol, timeframe, close_ms, passed_ms in behind.select(columns).iter_rows():
        spans[Market.of(exchange, symbol, timeframe)].append((close_ms, passed_ms))
    return spans


def _market(signal: SignalRaised) -> Market:
    return Market.of(*_names(signal))


def _identity(strategy: AnyStrategy) -> tuple[str, str, str]:
    return strategy.instance, strategy.version, strategy.params_hash


def _off(quarantine: StrategyQuarantined, signals: Iterable[SignalRaised]) -> tuple[int, int]:
    """When the strategy was last heard before its quarantine, and first after; ms."""
    heard_ms = [signal.confirmed_ms for signal in signals if _strategy(signal) == _strategy(quarantine)]
    before = max((at_ms for at_ms in heard_ms if at_ms <= quarantine.at_ms), default=0)
    return before, min((at_ms for at_ms in heard_ms if at_ms > quarantine.at_ms), default=END_OF_TIME_MS)


def _names(signal: SignalRaised) -> Names:
    return signal.exchange, signal.symbol, signal.timeframe


def _strategy(event: SignalRaised | StrategyQuarantined) -> tuple[str, str, str]:
    return event.strategy, event.strategy_version, event.params_hash
