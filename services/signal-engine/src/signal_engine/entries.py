"""From fired candles to signals, or to the reason why one is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

import polars as pl
import structlog

from signal_engine.quarantine import BAD_ENTRIES, FAULTS, BadEntries
from signal_engine.risk import Sizing
from signal_engine.strategies import AnyStrategy, Judgement
from signal_engine.window import Series
from tocsin_common.events import Side, SignalRaised, decode, encode

log = structlog.get_logger()


class Entries:
    """Makes signals of fired candles, and drops those that make no sense.

    `dropped` counts these by (strategy, reason); the first of each is logged until somebody clears it. `in_hand` is the
    candle that is being judged.
    """

    def __init__(self, sizing: Sizing) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.in_hand: tuple[Series, int] | None = None
        self._sizing = sizing
        self._streaks: Counter[str] = Counter()
        self._patience = float(BAD_ENTRIES)

    def of(self, strategy: AnyStrategy, fired: pl.DataFrame, series: Sequence[Series]) -> list[SignalRaised]:
        """The signals of one strategy's fired rows. Raises BadEntries when for too long none was good.

        Rows that were evaluated together count together: their order among each other changes nothing.
        """
        signals, faults = [], Counter[str]()
        for row in fired.iter_rows(named=True):
            self.in_hand = (series[row["series"]], row["open_ms"])
            signal, problem = self._judged(strategy, row)
            if signal is not None:
                signals.append(signal)
            elif problem in FAULTS:
                faults[problem] += 1
        streak = 0 if signals else self._streaks[strategy.instance] + faults.total()
        self._streaks[strategy.instance] = streak
        if streak >= self._patience:
            raise BadEntries(f"none of the last {streak} entries made sense: {', '.join(sorted(faults))}")
        self.in_hand = None
        return signals

    @contextmanager
    def forgiven(self) -> Iterator[None]:
        """Bad entries are only dropped, however many: a market that is made up proves nothing against a strategy."""
        self._patience = math.inf
        try:
            yield
        finally:
            self._patience = BAD_ENTRIES

    def forget(self) -> None:
        """What was dropped until now does not count."""
        self.dropped.clear()
        self._streaks.clear()

    def _judged(self, strategy: AnyStrategy, row: Mapping[str, float]) -> tuple[SignalRaised | None, str]:
        assert self.in_hand is not None
        series, open_ms = self.in_hand
        failure: Exception | None = None
        try:
            signal = signal_of(strategy, series, row, self._sizing)
            problem = problem_of(signal)
            if problem is None:
                decode(encode(signal))  # what cannot be read back would harm others than the strategy
        except Exception as error:  # the strategy's own code
            problem, failure = "judge_failed", error
        if problem is None:
            return signal, ""
        if (strategy.instance, problem) not in self.dropped:  # once a burst
            where = {**series._asdict(), "candle_open_ms": open_ms}
            log.warning("signal dropped", strategy=strategy.instance, reason=problem, **where, exc_info=failure)
        self.dropped[strategy.instance, problem] += 1
        return None, problem


def signal_of(strategy: AnyStrategy, series: Series, row: Mapping[str, float], sizing: Sizing) -> SignalRaised:
    """The signal of a row with the strategy's columns, `long` and `stop`. Raises what the strategy raises."""
    side: Side = "long" if row["long"] else "short"
    judgement: Judgement = strategy.judge(row, side)
    params, entry, stop = strategy.params, row["close"], row["stop"]
    confirmed_ms = int(row["open_ms"]) + series.length_ms
    # In a crash a short's farther targets may lie below zero, where no price goes: they are left out.
    return SignalRaised(
        strategy=strategy.instance,
        definition="" if strategy.instance == strategy.name else strategy.name,
        strategy_version=strategy.version,
        params_hash=strategy.params_hash,
        **series._asdict(),
        candle_open_ms=int(row["open_ms"]),
        confirmed_ms=confirmed_ms,
        side=side,
        confidence=judgement.confidence,
        entry=entry,
        stop=stop,
        targets=[target for multiple in params.targets_r if (target := entry + multiple * (entry - stop)) > 0],
        expires_ms=confirmed_ms + params.expiry_candles * series.length_ms,
        reasons=judgement.reasons,
        features=judgement.features,
        risk=sizing.risk(side, entry, stop, basis=strategy.stop_basis, invalidation=judgement.invalidation),
    )


def problem_of(signal: SignalRaised) -> str | None:
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
