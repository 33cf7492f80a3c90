"""All candles of the stream CANDLES as sorted columns per instrument and timeframe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tocsin.audit.trades import Instrument
from tocsin_common.events import CandlesClosed, Origin
from tocsin_trading.timeframes import TIMEFRAME_MS

Key = tuple[str, str, str]
"""Exchange, symbol, timeframe."""

ORIGINS: tuple[Origin, ...] = ("trades", "exchange", "history")
BUILT_HERE, HISTORY = ORIGINS.index("trades"), ORIGINS.index("history")

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Candles:
    """Candles of one instrument and timeframe, sorted by open time then revision.

    `trades` is -1 where unknown; `origin` is a position in ORIGINS.
    """

    open_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    trades: npt.NDArray[np.int64]
    revision: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int64]

    def where(self, mask: npt.NDArray[np.bool_]) -> Candles:
        return Candles(
            self.open_ms[mask],
            self.values[mask],
            self.trades[mask],
            self.revision[mask],
            self.seq[mask],
            self.origin[mask],
        )

    def first(self) -> Candles:
        """The candles as first published."""
        return self.where(self.revision == 0)

    def newest(self) -> Candles:
        """Only the highest revision of each candle."""
        last = np.append(self.open_ms[1:] != self.open_ms[:-1], True) if len(self.open_ms) else np.empty(0, np.bool_)
        return self.where(last)


@dataclass
class CandleColumns:
    """Collects messages, then `seal` makes the columns."""

    raw: dict[Key, list[tuple[CandlesClosed, int]]] = field(default_factory=lambda: defaultdict(list))
    by_key: dict[Key, Candles] = field(default_factory=dict)

    def add(self, event: CandlesClosed, seq: int) -> None:
        """File one message, stored at `seq`."""
        self.raw[event.exchange, event.symbol, event.timeframe].append((event, seq))

    def seal(self) -> None:
        """Turn what was collected into sorted columns."""
        for key, events in self.raw.items():
            self.by_key[key] = _columns(events)
        self.raw.clear()

    def minutes_built_here(self) -> Iterator[tuple[Instrument, Candles]]:
        """The first revisions of the 1m candles that were built from TRADES, per instrument."""
        for (exchange, symbol, timeframe), candles in self.by_key.items():
            chosen = candles.where((candles.origin == BUILT_HERE) & (candles.revision == 0) & (candles.trades >= 0))
            if timeframe == "1m" and len(chosen.open_ms):
                yield (exchange, symbol), chosen

    def count_by_timeframe(self) -> dict[str, int]:
        """Stored candles by timeframe, shortest first."""
        found = dict.fromkeys(TIMEFRAME_MS, 0)
        for (_, _, timeframe), candles in self.by_key.items():
            found[timeframe] += len(candles.open_ms)
        return {timeframe: count for timeframe, count in found.items() if count}


def _columns(events: list[tuple[CandlesClosed, int]]) -> Candles:
    sizes = [len(event.open_ms) for event, _ in events]
    open_ms = np.concatenate([np.asarray(event.open_ms, np.int64) for event, _ in events])
    revision = np.repeat([event.revision for event, _ in events], sizes)
    order = np.lexsort((revision, open_ms))
    values = np.column_stack(
        [np.concatenate([np.asarray(getattr(event, name), np.float64) for event, _ in events]) for name in FIELDS]
    )
    trades = [event.trades if event.trades is not None else [-1] * len(event.open_ms) for event, _ in events]
    return Candles(
        open_ms[order],
        values[order],
        np.concatenate([np.asarray(column, np.int64) for column in trades])[order],
        revision[order],
        np.repeat([seq for _, seq in events], sizes)[order],
        np.repeat([ORIGINS.index(event.origin) for event, _ in events], sizes)[order],
    )


def closes_at(candles: Candles, open_ms: set[int]) -> dict[int, float]:
    """The first published close of each candle that opens at one of the given times."""
    chosen = candles.where(np.isin(candles.open_ms, list(open_ms)) & (candles.revision == 0))
    return dict(zip(chosen.open_ms.tolist(), chosen.values[:, 3].tolist(), strict=True))


def ranges_at(candles: Candles, open_ms: set[int]) -> dict[int, tuple[float, float]]:
    """Lowest and highest price of each candle that opens at one of the given times."""
    chosen = candles.where(np.isin(candles.open_ms, list(open_ms)))
    low, high = chosen.values[:, 2].tolist(), chosen.values[:, 1].tolist()
    return dict(zip(chosen.open_ms.tolist(), zip(low, high, strict=True), strict=True))
