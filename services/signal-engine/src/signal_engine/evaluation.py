"""One query over a frame of windows: indicators, conditions, and a signal for each new candle that fires.

The frame (see `Windows.frame`) may come from the live windows or from all of history: the same rows give the same
signals, to the last byte.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import polars as pl
import structlog

from signal_engine.strategies import LOOK_BACK_CANDLES, AnyStrategy, Judgement
from signal_engine.windows import WARM_UP_CANDLES, Series
from tocsin_common.events import Side, SignalRaised

log = structlog.get_logger()


class Evaluation:
    """Evaluates strategies, and keeps one that breaks from taking the others along.

    A strategy whose query raises is quarantined until the restart; a single entry that cannot be judged or makes no
    sense (stop on the wrong side, not finite) is dropped. Both are logged and counted: `quarantined` and `dropped`.
    """

    def __init__(self, strategies: Sequence[AnyStrategy]) -> None:
        for strategy in strategies:
            if strategy.warm_up_candles > WARM_UP_CANDLES:
                needed = strategy.warm_up_candles
                raise ValueError(f"{strategy.name} needs {needed} candles to warm up, windows hold {WARM_UP_CANDLES}")
        self._healthy = list(strategies)
        self.quarantined: list[str] = []
        self.dropped: Counter[tuple[str, str]] = Counter()
        """Entries not raised, by (strategy, reason); the first of each is logged until somebody clears this."""

    def signals(self, frame: pl.DataFrame, series: Sequence[Series]) -> list[SignalRaised]:
        """Signals of the frame's new rows, ordered by confirmation, instrument, timeframe and strategy."""
        enriched = self._with_indicators(frame)
        found: list[SignalRaised] = []
        for strategy in list(self._healthy):
            try:
                fired = _fired(enriched, strategy)
            except Exception as error:  # a strategy is somebody's expression: its mistake must stay its own
                self._quarantine(strategy, error)
                continue
            for row in fired.iter_rows(named=True):
                signal = self._raise(strategy, series[row["series"]], row)
                if signal is not None:
                    found.append(signal)
        return sorted(found, key=order)

    def _with_indicators(self, frame: pl.DataFrame) -> pl.DataFrame:
        try:
            return _narrowed(frame.with_columns(_indicators(self._healthy)))
        except Exception:  # find whose expression it is
            for strategy in list(self._healthy):
                try:
                    frame.with_columns(_indicators([strategy]))
                except Exception as error:
                    self._quarantine(strategy, error)
            return _narrowed(frame.with_columns(_indicators(self._healthy)))

    def _raise(self, strategy: AnyStrategy, series: Series, row: Mapping[str, float]) -> SignalRaised | None:
        side: Side = "long" if row["long"] else "short"
        failure: Exception | None = None
        try:
            signal = _signal(strategy, series, row, side, strategy.judge(row, side))
            problem = _problem(signal)
        except Exception as error:  # as above: the strategy's own code
            problem, failure = "judge_failed", error
        if problem is None:
            return signal
        if (strategy.name, problem) not in self.dropped:  # once a burst
            where = {**series._asdict(), "candle_open_ms": row["open_ms"]}
            log.warning("signal dropped", strategy=strategy.name, reason=problem, **where, exc_info=failure)
        self.dropped[strategy.name, problem] += 1
        return None

    def _quarantine(self, strategy: AnyStrategy, error: Exception) -> None:
        self._healthy.remove(strategy)
        self.quarantined.append(strategy.name)
        log.error("strategy quarantined until the restart", strategy=strategy.name, exc_info=error)


def order(signal: SignalRaised) -> tuple[int, str, str, str, str, str]:
    """Sort key of signals: the order they are published in."""
    source = (signal.exchange, signal.symbol, signal.timeframe)
    return (signal.confirmed_ms, *source, signal.strategy, signal.params_hash)


def _indicators(strategies: Sequence[AnyStrategy]) -> list[pl.Expr]:
    """Every indicator once."""
    return list({expr.meta.output_name(): expr for strategy in strategies for expr in strategy.indicators()}.values())


def _narrowed(enriched: pl.DataFrame) -> pl.DataFrame:
    """New rows and the LOOK_BACK_CANDLES before each: few when live, so that everything after this is cheap."""
    return enriched.filter(pl.any_horizontal(pl.col("new").shift(-back) for back in range(LOOK_BACK_CANDLES + 1)))


def _fired(enriched: pl.DataFrame, strategy: AnyStrategy) -> pl.DataFrame:
    """New, warmed-up rows on which exactly one side's conditions hold; in a market that stands still nothing fires."""
    usable = pl.col("new") & (pl.col("preceding") >= strategy.warm_up_candles) & (pl.col(strategy.atr_column) > 0)
    conditions = enriched.with_columns(strategy.recent()).with_columns(
        long=strategy.long().fill_null(value=False), short=strategy.short().fill_null(value=False)
    )
    return conditions.filter(usable & (pl.col("long") != pl.col("short")))


def _signal(
    strategy: AnyStrategy, series: Series, row: Mapping[str, float], side: Side, judgement: Judgement
) -> SignalRaised:
    params, entry, open_ms = strategy.params, row["close"], int(row["open_ms"])
    risk = params.stop_atr * row[strategy.atr_column] * (1 if side == "long" else -1)
    confirmed_ms = open_ms + series.length_ms
    # In a crash a short's farther targets may lie below zero, where no price goes: they are left out.
    return SignalRaised(
        strategy=strategy.name,
        strategy_version=strategy.version,
        params_hash=strategy.params_hash,
        exchange=series.exchange,
        symbol=series.symbol,
        timeframe=series.timeframe,
        candle_open_ms=open_ms,
        confirmed_ms=confirmed_ms,
        side=side,
        confidence=judgement.confidence,
        entry=entry,
        stop=entry - risk,
        targets=[target for multiple in params.targets_r if (target := entry + multiple * risk) > 0],
        expires_ms=confirmed_ms + params.expiry_candles * series.length_ms,
        reasons=judgement.reasons,
        features=judgement.features,
    )


def _problem(signal: SignalRaised) -> str | None:
    """Why a signal makes no sense, as a metric label; None when it does."""
    prices = [signal.stop, signal.entry, *signal.targets]
    if not all(math.isfinite(value) for value in (*prices, *signal.features.values())):
        return "not_finite"
    if signal.side == "short":
        prices.reverse()
    if prices[0] <= 0:
        return "price_not_positive"
    if not signal.targets:
        return "no_target"
    if any(left >= right for left, right in pairwise(prices)):
        return "wrong_side"
    if not 0 <= signal.confidence <= 100:
        return "confidence_out_of_range"
    return None
