"""One query over a frame of windows: indicators, conditions, and a signal for each new candle that fires.

The frame (see `Windows.frame`) may come from the live windows or from all of history: the same rows give the same
signals, to the last byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import polars as pl
import structlog

from signal_engine.entries import problem_of, signal_of
from signal_engine.higher import Higher
from signal_engine.prepared import Prepared, higher_of, once, prepare, warm_up_of
from signal_engine.risk import Sizing
from signal_engine.strategies import LOOK_BACK_CANDLES, AnyStrategy
from signal_engine.windows import Series
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

ColumnsOf = Callable[[Prepared], Iterable[pl.Expr]]


class Evaluation:
    """Evaluates strategies, and keeps one that breaks from taking the others along.

    A strategy whose query raises is quarantined until the restart; a single entry that cannot be judged or makes no
    sense (stop on the wrong side, not finite) is dropped. Both are logged and counted: `quarantined` and `dropped`.

    `warm_up_candles` is how many candles a window holds before its block. Raises ValueError for strategies that cannot
    be used, or not together.
    """

    def __init__(self, strategies: Sequence[AnyStrategy], sizing: Sizing | None = None) -> None:
        self._healthy = prepare(strategies)
        self._sizing = sizing or Sizing()
        self.warm_up_candles = warm_up_of(self._healthy)
        self.quarantined: list[str] = []
        self.dropped: Counter[tuple[str, str]] = Counter()
        """Entries not raised, by (strategy, reason); the first of each is logged until somebody clears this."""

    def higher_of(self, timeframes: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """By timeframe: the higher ones its candles look at, where there are any."""
        return higher_of(self._healthy, timeframes)

    def signals(self, frame: pl.DataFrame, series: Sequence[Series], higher: Higher) -> list[SignalRaised]:
        """Signals of the frame's new rows, ordered by confirmation, instrument, timeframe and strategy."""
        enriched = self._with_higher(_narrowed(self._with_columns(frame, _columns)), series, higher)
        found: list[SignalRaised] = []
        for one in list(self._healthy):
            try:
                fired = _fired(enriched, one, series)
            except Exception as error:  # a strategy is somebody's expression: its mistake must stay its own
                self._quarantine(one, error)
                continue
            for row in fired.iter_rows(named=True):
                signal = self._raise(one.strategy, series[row["series"]], row)
                if signal is not None:
                    found.append(signal)
        return sorted(found, key=order)

    def _with_columns(self, frame: pl.DataFrame, columns_of: ColumnsOf) -> pl.DataFrame:
        try:
            return frame.with_columns(once(self._healthy, columns_of))
        except Exception:  # find whose expression it is
            for one in list(self._healthy):
                try:
                    frame.with_columns(columns_of(one))
                except Exception as error:
                    self._quarantine(one, error)
            return frame.with_columns(once(self._healthy, columns_of))

    def _with_higher(self, rows: pl.DataFrame, series: Sequence[Series], higher: Higher) -> pl.DataFrame:
        """The rows with the columns of all higher timeframes that some strategy looks at from theirs."""
        above = self.higher_of({one.timeframe for one in series}).values()
        for timeframe in sorted(frozenset[str]().union(*above), key=TIMEFRAME_MS.__getitem__):
            rows = higher.join(rows, series, timeframe, partial(self._of_higher, timeframe))
        return rows

    def _of_higher(self, timeframe: str, frame: pl.DataFrame) -> pl.DataFrame:
        def asked(one: Prepared) -> Iterable[pl.Expr]:
            return one.higher.get(timeframe, ())

        enriched = self._with_columns(frame, asked)
        return enriched.select(*frame.columns, *(expr.meta.output_name() for expr in once(self._healthy, asked)))

    def _raise(self, strategy: AnyStrategy, series: Series, row: Mapping[str, float]) -> SignalRaised | None:
        failure: Exception | None = None
        try:
            signal = signal_of(strategy, series, row, self._sizing)
            problem = problem_of(signal)
        except Exception as error:  # as above: the strategy's own code
            problem, failure = "judge_failed", error
        if problem is None:
            return signal
        if (strategy.instance, problem) not in self.dropped:  # once a burst
            where = {**series._asdict(), "candle_open_ms": row["open_ms"]}
            log.warning("signal dropped", strategy=strategy.instance, reason=problem, **where, exc_info=failure)
        self.dropped[strategy.instance, problem] += 1
        return None

    def _quarantine(self, one: Prepared, error: Exception) -> None:
        self._healthy.remove(one)
        self.quarantined.append(one.strategy.instance)
        log.error("strategy quarantined until the restart", strategy=one.strategy.instance, exc_info=error)


def order(signal: SignalRaised) -> tuple[int, str, str, str, str, str]:
    """Sort key of signals: the order they are published in."""
    source = (signal.exchange, signal.symbol, signal.timeframe)
    return (signal.confirmed_ms, *source, signal.strategy, signal.params_hash)


def _columns(one: Prepared) -> Iterable[pl.Expr]:
    return one.columns


def _narrowed(enriched: pl.DataFrame) -> pl.DataFrame:
    """New rows and the LOOK_BACK_CANDLES before each: few when live, so that everything after this is cheap."""
    return enriched.filter(pl.any_horizontal(pl.col("new").shift(-back) for back in range(LOOK_BACK_CANDLES + 1)))


def _fired(enriched: pl.DataFrame, one: Prepared, series: Sequence[Series]) -> pl.DataFrame:
    """New, warmed-up rows on which exactly one side's conditions hold; in a market that stands still nothing fires."""
    warm = pl.col("preceding") >= one.warm_up_candles
    usable = pl.col("new") & warm & (pl.col(one.strategy.atr_column) > 0)
    if one.strategy.timeframes:
        judged = [number for number, market in enumerate(series) if one.judges(market.timeframe)]
        usable &= pl.col("series").is_in(pl.Series(judged, dtype=pl.UInt32).implode())
    rows = enriched.with_columns(one.recent).with_columns(one.conditions)
    fired = rows.filter(usable & (pl.col("long") != pl.col("short")))
    return fired.with_columns(stop=pl.when("long").then("stop_long").otherwise("stop_short"))
