"""All trades of the stream TRADES, as far as an audit needs them: times in columns, and the basis of fills."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tocsin_common.events import TradesReceived

Instrument = tuple[str, str]
Column = npt.NDArray[np.int64]

MINUTE_MS = 60_000


@dataclass
class TradeColumns:
    """`times` holds one array of `ts_ms` per message; `prices` the market prices of the trades in `wanted`.

    A trade is referred to by its id, or by its time where the exchange gives none.
    """

    wanted: Mapping[Instrument, set[str]] = field(default_factory=dict)
    times: dict[Instrument, list[tuple[int, Column]]] = field(default_factory=lambda: defaultdict(list))
    prices: dict[tuple[str, str, str], set[float]] = field(default_factory=lambda: defaultdict(set))

    def add(self, batch: TradesReceived, seq: int) -> None:
        """File one batch, stored at `seq`."""
        instrument = (batch.exchange, batch.symbol)
        self.times[instrument].append((seq, np.asarray(batch.ts_ms, dtype=np.int64)))
        if wanted := self.wanted.get(instrument):
            self._look_up(batch, wanted)

    def count(self, through: int | None = None) -> int:
        """Trades on the stream, optionally only those through a sequence."""
        return sum(
            len(column) for of_one in self.times.values() for seq, column in of_one if through is None or seq <= through
        )

    def per_minute(self, instrument: Instrument, through: int) -> tuple[Column, Column]:
        """The minutes (open times, ascending) in which an instrument traded, and how many trades each has."""
        columns = [column for seq, column in self.times.get(instrument, ()) if seq <= through]
        if not columns:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        minutes, counts = np.unique(np.concatenate(columns) // MINUTE_MS * MINUTE_MS, return_counts=True)
        return minutes, counts.astype(np.int64)

    def _look_up(self, batch: TradesReceived, wanted: set[str]) -> None:
        references = [
            str(ts) if known is None else known for ts, known in zip(batch.ts_ms, batch.trade_id, strict=True)
        ]
        if wanted.isdisjoint(references):
            return
        for reference, price in zip(references, batch.price, strict=True):
            if reference in wanted:
                self.prices[batch.exchange, batch.symbol, reference].add(price)
