"""One query over a frame of windows: indicators, conditions, and a signal for each new candle that fires.

Frames (see `frames.py`) may come from the live windows or from all of history: the same rows give the same
signals, to the last byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from functools import partial
from time import perf_counter

import polars as pl
import structlog

from signal_engine.columns import Asked, Column, Frame, Whole
from signal_engine.entries import Entries
from signal_engine.higher import Higher
from signal_engine.limited import limited
from signal_engine.market import Markets, beside
from signal_engine.prepared import Prepared, higher_of, once, prepare, warm_up_of
from signal_engine.quarantine import BROKEN, Quarantine, check_types, described, reason_of
from signal_engine.risk import Sizing
from signal_engine.strategies import LOOK_BACK_CANDLES, AnyStrategy
from signal_engine.window import Series
from tocsin_common.events import SignalRaised
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

ColumnsOf = Callable[[Prepared], Iterable[Column]]

Query = Callable[[Sequence[Prepared]], pl.DataFrame]
"""Of some strategies, what they ask for."""


class Evaluation:
    """Evaluates strategies, and keeps one that breaks from taking the others along.

    A strategy is quarantined until the restart, and none of its signals of that query are raised, when its query raises
    or gives wrong columns, when its own code has not ended after `budget_s` (None: no limit), or when its entries made
    no sense for too long. A single entry that makes none is dropped. All of it is logged and counted, until somebody
    clears it: `quarantined`, `dropped`, and `spent`, the seconds that went into indicators, higher timeframes and each
    strategy.

    `across` are the strategies that look at the whole market: they want frames `beside_market`.
    `warm_up_candles` is how many candles a window holds before its block. Raises ValueError for strategies that cannot
    be used, or not together.
    """

    def __init__(
        self, strategies: Sequence[AnyStrategy], sizing: Sizing | None = None, *, budget_s: float | None = None
    ) -> None:
        prepared = prepare(strategies)
        self._healthy = [one for one in prepared if not one.market]
        self._budget_s = budget_s
        self.entries = Entries(sizing or Sizing())
        self.dropped = self.entries.dropped
        self.warm_up_candles = warm_up_of(prepared)
        self.quarantined: list[Quarantine] = []
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.across: Evaluation | None = None
        self.across = self._of([one for one in prepared if one.market])

    def _of(self, prepared: list[Prepared]) -> Evaluation | None:
        """One of other strategies that shares everything else with this one; None when there are none of them."""
        other = copy(self)
        other._healthy = prepared
        return other if prepared else None

    def judges(self, timeframe: str) -> bool:
        """Whether candles of this timeframe are evaluated."""
        return any(one.judges(timeframe) for one in self._healthy)

    def higher_of(self, timeframes: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """By timeframe: the higher ones its candles look at, where there are any."""
        return higher_of(self._healthy, timeframes)

    def asked_in(self, timeframe: str) -> Iterator[Asked]:
        """The columns of a timeframe that are asked for together: on its own candles, and from below."""
        yield Asked.of(once(self._healthy, partial(_judged_in, {timeframe})))
        yield Asked.of(once(self._healthy, lambda one: one.higher.get(timeframe, ())))

    def signals(self, frames: Iterable[Frame], series: Sequence[Series], higher: Higher) -> list[SignalRaised]:
        """Signals of the new rows of frames, ordered by confirmation, instrument, timeframe and strategy."""
        parts, timeframes = [], set[str]()
        for frame in frames if self._healthy else ():
            here = {series[number].timeframe for number in frame.numbers}
            with self._timed("indicators"):
                parts.append(self._near(frame, partial(_judged_in, here), LOOK_BACK_CANDLES))
            timeframes |= here
        return self._found(pl.concat(parts, how="diagonal"), series, timeframes, higher) if parts else []

    def _found(
        self, rows: pl.DataFrame, series: Sequence[Series], timeframes: Set[str], higher: Higher
    ) -> list[SignalRaised]:
        with self._timed("higher"):
            rows = self._with_higher(rows, series, timeframes, higher)
        found: list[SignalRaised] = []
        for one in [one for one in self._healthy if any(map(one.judges, timeframes))]:
            with self._timed(one.strategy.instance):
                found += self._entries_of(one, rows, series)
        return sorted(found, key=order)

    def beside_market(
        self, frames: Iterable[pl.DataFrame], series: Sequence[Series], markets: Markets
    ) -> Iterator[Frame]:
        """The frames with the columns of the market that strategies look at."""
        for frame in frames:
            with self._timed("market"):
                placed = beside(frame, series, markets, self.warm_up_candles, self._of_market)
            yield Whole(placed)

    def _of_market(self, frame: pl.DataFrame) -> pl.DataFrame:
        def asked(one: Prepared) -> Iterable[Column]:
            return one.market

        def query(asking: Sequence[Prepared]) -> pl.DataFrame:
            return frame.with_columns(column.warm for column in once(asking, asked))

        return self._answered(query).select(column.name for column in once(self._healthy, asked))

    def forget(self) -> None:
        """What was dropped and spent until now was a rehearsal. What is quarantined stays so."""
        self.entries.forget()
        self.spent.clear()

    def _near(self, frame: Frame, columns_of: ColumnsOf, look_back: int) -> pl.DataFrame:
        """The frame's new rows and so many before each, with all columns: few when live, so that everything after this
        is cheap."""
        return self._answered(lambda asking: frame.near(once(asking, columns_of), look_back))

    def _answered(self, query: Query) -> pl.DataFrame:
        """The answer to a query of the strategies; who breaks it is quarantined."""
        try:
            return self._in_time(query, self._healthy)
        except BROKEN:  # find whose expression it is
            for one in list(self._healthy):
                try:
                    self._in_time(query, [one])
                except BROKEN as error:
                    self._quarantine(one, error)
            return self._in_time(query, self._healthy)

    def _in_time(self, query: Query, asking: Sequence[Prepared]) -> pl.DataFrame:
        with self._limited(max(1, len(asking))):
            return query(asking)

    def _with_higher(
        self, rows: pl.DataFrame, series: Sequence[Series], timeframes: Set[str], higher: Higher
    ) -> pl.DataFrame:
        """The rows, of these timeframes, with the columns of all higher ones that strategies look at, null where not
        higher."""
        above, here = self.higher_of(timeframes), rows["series"].unique().to_list()
        for timeframe in sorted(frozenset[str]().union(*above.values()), key=TIMEFRAME_MS.__getitem__):
            lower = {number: series[number] for number in here if timeframe in above.get(series[number].timeframe, ())}
            rows = higher.join(rows, lower, timeframe, partial(self._of_higher, timeframe))
        names = {column.name for one in self._healthy for asked in one.higher.values() for column in asked}
        return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in sorted(names - set(rows.columns)))

    def _of_higher(self, timeframe: str, frame: Frame) -> pl.DataFrame:
        """The frame's new rows with the columns that strategies ask of this timeframe, null before these are warm."""

        def asked(one: Prepared) -> Iterable[Column]:
            return one.higher.get(timeframe, ())

        rows = self._near(frame, asked, 0)
        return rows.with_columns(
            Column(column.name, pl.col(column.name), column.memory).warm for column in once(self._healthy, asked)
        )

    def _entries_of(self, one: Prepared, rows: pl.DataFrame, series: Sequence[Series]) -> list[SignalRaised]:
        """The signals of one strategy; none, and it is quarantined, when anything goes wrong with it."""
        try:
            with self._limited(1):
                return self.entries.of(one.strategy, _fired(rows, one, series), series)
        except BROKEN as error:  # a strategy is somebody's expression: its mistake must stay its own
            self._quarantine(one, error)
            return []

    def _quarantine(self, one: Prepared, error: BaseException) -> None:
        series, open_ms = self.entries.in_hand or (None, None)
        self.entries.in_hand = None
        self._healthy.remove(one)
        found = Quarantine(one.strategy, reason_of(error), described(error), series, open_ms)
        self.quarantined.append(found)
        where = {**series._asdict(), "candle_open_ms": open_ms} if series else {}
        name = one.strategy.instance
        log.error("strategy quarantined until the restart", strategy=name, reason=found.reason, **where, exc_info=error)

    def _limited(self, strategies: int) -> AbstractContextManager[None]:
        """A block in which so many strategies have their time."""
        return limited(self._budget_s * strategies) if self._budget_s else nullcontext()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.spent[part] += perf_counter() - started


def order(signal: SignalRaised) -> tuple[int, str, str, str, str, str]:
    """Sort key of signals: the order they are published in."""
    source = (signal.exchange, signal.symbol, signal.timeframe)
    return (signal.confirmed_ms, *source, signal.strategy, signal.params_hash)


def _judged_in(timeframes: Set[str], one: Prepared) -> Iterable[Column]:
    return one.columns if any(map(one.judges, timeframes)) else ()


def _fired(enriched: pl.DataFrame, one: Prepared, series: Sequence[Series]) -> pl.DataFrame:
    """New, warmed-up rows on which exactly one side's conditions hold; in a market that stands still nothing fires."""
    warm = pl.col("preceding") >= one.warm_up_candles
    usable = pl.col("new") & warm & (pl.col(one.strategy.atr_column) > 0)
    if one.strategy.timeframes:
        here = enriched["series"].unique().to_list()
        judged = [number for number in here if one.judges(series[number].timeframe)]
        usable &= pl.col("series").is_in(pl.Series(judged, dtype=pl.UInt32).implode())
    rows = enriched.select(one.sees).with_columns(one.recent).with_columns(one.conditions)
    check_types(rows)
    fired = rows.filter(usable & (pl.col("long") != pl.col("short")))
    stop = pl.when("long").then("stop_long").otherwise("stop_short")
    return fired.with_columns(stop=stop.fill_null(float("nan")))
