"""Facts about the evaluation itself: strategies taken out of it, rounds that are slow, and the figures it computes."""

from __future__ import annotations

from typing import Literal

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive

QuarantineReason = Literal["raised", "wrong_columns", "bad_entries", "too_slow"]
Pace = Literal["slow", "recovered"]


class StrategyQuarantined(Event, frozen=True, kw_only=True, tag="quarantine.v1"):
    """A strategy broke and is off until the signal-engine starts again; the others go on.

    `raised`: an exception came out of its query; `wrong_columns`: its columns are missing or of the wrong type;
    `bad_entries`: one after the other made no sense; `too_slow`: its own code did not end in its time. `at_ms` is the
    time of the mark it was to be evaluated at, 0 before the first one. The candle is the one in hand, where it is
    known. `strategy` and `definition` are named as in signals.
    """

    strategy: str
    strategy_version: str
    params_hash: str
    reason: QuarantineReason
    error: str
    at_ms: int
    definition: str = ""
    exchange: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    candle_open_ms: int | None = None

    @property
    def subject(self) -> str:
        return subjects.quarantine(self.strategy)

    @property
    def event_id(self) -> str:
        strategy = (self.strategy, self.strategy_version, self.params_hash)
        return derive("quarantine", *strategy, self.reason, self.at_ms)


class RoundsChanged(Event, frozen=True, kw_only=True, tag="rounds.v1"):
    """The rounds of a live market became slow, or are well again.

    `waited_ms` is how long the round's first mark had been stored before the round began, `took_ms` the round itself,
    over `symbols` and `candles` that closed; `longest` is the part of it that took longest (`read`, `indicators`,
    `higher`, a strategy's name, `readings`, `publish`), for `longest_ms`. `at_ms` is the time of its last mark, and
    `candles_seq` how far that reaches. When `recovered`, the figures are of the slowest round in between, and `rounds`
    is how many were slow.
    """

    pace: Pace
    at_ms: int
    candles_seq: int
    waited_ms: int
    took_ms: int
    symbols: int
    candles: int
    longest: str
    longest_ms: int
    rounds: int = 1

    @property
    def subject(self) -> str:
        return subjects.rounds(self.pace)

    @property
    def event_id(self) -> str:
        return derive("rounds", self.pace, self.at_ms, self.candles_seq)


class IndicatorsComputed(Event, frozen=True, kw_only=True, tag="indicators.v1"):
    """Indicators of a closed candle, by column name (`rsi_14`), and its `close`.

    What is not warm yet, or no number, is absent.
    """

    exchange: str
    symbol: str
    timeframe: str
    open_ms: int
    close: float
    values: dict[str, float]

    @property
    def subject(self) -> str:
        return subjects.indicators(self.exchange, self.symbol, self.timeframe)

    @property
    def event_id(self) -> str:
        return derive("indicators", self.exchange, self.symbol, self.timeframe, self.open_ms, *sorted(self.values))


class IndicatorsOffered(Event, frozen=True, kw_only=True, tag="indicators_offered.v1"):
    """A signal-engine started: of every candle of `timeframes` it publishes `columns` (`rsi_14`), and no others.

    `at_ms` is our clock.
    """

    columns: list[str]
    timeframes: list[str]
    at_ms: int

    @property
    def subject(self) -> str:
        return subjects.INDICATORS_OFFERED

    @property
    def event_id(self) -> str:
        return derive("offered", self.at_ms, *self.timeframes, *self.columns)
