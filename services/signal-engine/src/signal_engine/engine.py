"""The pure core: closed candles in, signals out. No I/O and no clock; the same rows in any grouping give the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from time import perf_counter

import numpy as np
import structlog

from signal_engine.across import Across
from signal_engine.evaluation import Evaluation, order
from signal_engine.frames import framed
from signal_engine.higher import Higher
from signal_engine.readings import Readings
from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy
from signal_engine.window import Candles, Series, Window
from signal_engine.windows import Windows
from tocsin_common.events import CandlesClosed, IndicatorsComputed, SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

END_OF_TIME_MS = 2**62


class Engine:
    """Windows of every series of the given timeframes, and the strategies evaluated on them.

    `timeframes` are those judged and the higher ones that strategies look at from there. `budget_s` is what each
    strategy may take (see `Evaluation`), and `indicators` are columns that `compute` gives of every candle judged.
    `tally` counts candles by what became of them: `evaluated`, `warmed` (warm-up only), `duplicate`, `late` (joined the
    window, no signal), `dropped` (older than the window), `correction` (a later revision: not looked at, the windows
    hold candles as first received) and `disordered` (a message that breaks the contract on order).
    """

    def __init__(
        self,
        strategies: Sequence[AnyStrategy],
        timeframes: Sequence[str],
        sizing: Sizing | None = None,
        *,
        budget_s: float | None = None,
        indicators: Sequence[str] = (),
    ) -> None:
        self.evaluation = Evaluation(strategies, sizing, budget_s=budget_s)
        self._above = self.evaluation.higher_of(timeframes)
        across = self.evaluation.across
        looked_at = [*self._above.values(), *(across.higher_of(timeframes).values() if across else ())]
        self.timeframes = frozenset(timeframes).union(*looked_at)
        self.tally: Counter[str] = Counter()
        self._readings = Readings(indicators) if indicators else None
        self._uncomputed: list[list[tuple[int, Window]]] = []
        longest = self._readings.warm_up_candles if self._readings else 0
        self.windows = Windows(self.evaluation.warm_up_candles, frozenset(timeframes), kept_candles=longest)
        self.across = Across(across, self.windows, timeframes) if across else None
        self._higher = Higher(self.windows.candles_of)
        self._time_ms = 0
        self._early: list[SignalRaised] = []
        self._marks = 0
        self._came: dict[tuple[Series, int], int] = {}

    def add(self, events: Iterable[CandlesClosed], *, warm_up: bool = False) -> None:
        """Take in candles in stream order; those of origin `history`, or any with `warm_up`, raise no signals."""
        for event in events:
            if event.timeframe in self.timeframes:
                self._add(event, warm_up=warm_up or event.origin == "history")

    def watch(self, events: Iterable[CandlesClosed]) -> None:
        """Take in candles of symbols that others judge, in stream order with our own: they are part of the market."""
        for event in events:
            if self.across and not event.revision and not _disordered(event):
                self.across.watch(event)

    def evaluate(self, time_ms: int | None = None) -> list[SignalRaised]:
        """Signals of all candles added since the last call, in publishing order (`evaluation.order`).

        `time_ms`: everything that ended by then has been added (a mark's time); a candle that ended later waits for a
        higher one it looks at. Without it nothing waits.
        """
        self._time_ms = END_OF_TIME_MS if time_ms is None else time_ms
        signals = [*self._early, *self._evaluate(self._time_ms)]
        if self.across:
            signals += self.across.evaluate(time_ms)
        found = sorted(signals, key=lambda signal: (self._due(signal), *order(signal)))
        self._early, self._came, self._marks = [], {}, 0
        return found

    def defer(self, time_ms: int) -> bool:
        """At a mark of `time_ms` that another one of the same time follows: whether what was added may be evaluated
        together with what comes until then. If so `evaluate` gives first what it would have given here.

        It may when no candle ended by then: each is evaluated as soon as those it looks at are there, and no sooner.
        """
        if self.across or not self.windows.all_end_after(time_ms):
            return False
        self._time_ms, self._marks = time_ms, self._marks + 1
        return True

    def evaluate_some(self) -> None:
        """Evaluate what waits for nothing, so that less is left for `evaluate`, which gives these signals, too."""
        self._early += self._evaluate(0)

    def compute(self) -> list[IndicatorsComputed]:
        """The indicators of all candles evaluated since the last call: afterwards, because nobody trades on them."""
        found: list[IndicatorsComputed] = []
        if self._readings and self._uncomputed:
            started = perf_counter()
            for windows in self._uncomputed:
                frames = framed(windows, self._readings.warm_up_candles)
                found += self._readings.of(frames, self.windows.series)
            self._uncomputed.clear()
            self.evaluation.spent["readings"] += perf_counter() - started
        return found

    def carry(self, most: int = 2**31) -> bool:
        """Prepare for the candles that come next, when nobody waits: it only saves time. Of so many windows at most;
        says whether there is more to do."""
        started = perf_counter()
        more = self.windows.carry(self.evaluation.asked_in, most)
        self.evaluation.spent["carrying"] += perf_counter() - started
        return more

    def clear(self, time_ms: int = 0) -> None:
        """Forget every candle, as if nothing had been added. Strategies that are off stay so. The last mark was of
        `time_ms`."""
        self.windows.clear()
        if self.across:
            self.across.clear(time_ms)
        self._higher = Higher(self.windows.candles_of)
        self._early, self._uncomputed = [], []
        self._came, self._marks = {}, 0

    def restore(self, series: Series, candles: Candles, *, ours: bool = True) -> None:
        """Take in candles that an earlier life had in a window: as ours, or only as part of the market."""
        if ours:
            self.windows.restore(series, candles)
        if self.across:
            self.across.restore(series, candles)

    def resume(self, time_ms: int) -> None:
        """After a restart: candles that waited at the last mark, of `time_ms`, wait again."""
        self._time_ms = time_ms
        if self._above:
            self.windows.resume(time_ms, self._above)
        if self.across:
            self.across.resume()

    def _add(self, event: CandlesClosed, *, warm_up: bool) -> None:
        rows = len(event.open_ms)
        if event.revision:
            self.tally["correction"] += rows
            return
        if _disordered(event):
            self.tally["disordered"] += rows
            log.error("candles out of order within a message", subject=event.subject, first_ms=event.open_ms[0])
            return
        series = Series(event.exchange, event.symbol, event.timeframe)
        if self.windows.pending and event.open_ms[0] <= self.windows.newest_ms(series):
            # What is pending came before these late candles on the stream, so it is evaluated without them.
            self._early += self._evaluate(self._time_ms)
        if self.across:
            self.across.watch(event)
        if self._marks:
            self._came |= dict.fromkeys(((series, open_ms) for open_ms in event.open_ms), self._marks)
        added = self.windows.add(event, pending=not warm_up)
        self.tally["warmed" if warm_up else "evaluated"] += added.fresh
        self.tally["duplicate"] += added.duplicate
        self.tally["late"] += added.late
        if added.late:
            self._higher.forget(event.timeframe)
            if self.across:
                self.across.add_late(event)
        self.tally["dropped"] += added.dropped

    def _due(self, signal: SignalRaised) -> int:
        """How many marks were deferred before everything was there that a signal's candle looks at."""
        if not self._came:
            return 0
        series, ends_ms = Series(signal.exchange, signal.symbol, signal.timeframe), signal.confirmed_ms
        seen = [(series, signal.candle_open_ms)]
        for timeframe in self._above.get(signal.timeframe, ()):
            length_ms = TIMEFRAME_MS[timeframe]
            seen.append((series._replace(timeframe=timeframe), ends_ms // length_ms * length_ms - length_ms))
        return max(self._came.get(candle, 0) for candle in seen)

    def _evaluate(self, time_ms: int) -> list[SignalRaised]:
        if self._above:
            self.windows.hold(time_ms, self._above)
        signals = self.evaluation.signals(self.windows.frames(), self.windows.series, self._higher)
        if self._readings:
            self._uncomputed.append(self.windows.copies())
        if self.across:
            self.across.wait(self.windows.copies())
        self.windows.settle()
        return signals


def _disordered(event: CandlesClosed) -> bool:
    return len(event.open_ms) > 1 and not np.all(np.diff(event.open_ms) > 0)
