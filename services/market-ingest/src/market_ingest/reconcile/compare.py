"""What is comparable, what counts as equal, and which corrections follow. Pure.

Prices are equal if they are the same number. Volumes are equal if they do not differ in any digit the exchange prints;
what longer sums lose by rounding (`SUM_TOLERANCE`) does not count either. A flat candle of ours equals none of theirs:
some exchanges give no candle for an interval nobody traded in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from market_ingest.columns import Candles, Instrument
from market_ingest.history.paging import Key
from market_ingest.ingest import CANDLE_ROWS
from tocsin_common.events import CandlesClosed, Difference
from tocsin_trading.instruments import Kind, parse_symbol

SUM_TOLERANCE = 1e-12
"""A day is the sum of 1440 volumes, each rounded by 1e-16 of itself."""


class Klines(NamedTuple):
    """Markets of an exchange whose own candles are made of exactly the trades it streams."""

    kinds: frozenset[Kind]
    volume_decimals: int


COMPARABLE: Mapping[str, Klines] = {
    # Recorded trades of spot markets add up to its recorded candles in every digit (test_ingest_real). Not so where
    # trades count contracts: ccxt then gives the volume of candles in coins.
    "binance": Klines(frozenset({"spot"}), volume_decimals=8),
}
"""Exchanges by ccxt id. Others are not compared: their open may be the close before, their volume of another unit, and
a correction must not be worse than what it corrects. One is added with a test on recorded data."""


class Ours(NamedTuple):
    """A candle as we published it last."""

    revision: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def values(self) -> tuple[float, ...]:
        """The columns that are compared."""
        return self[1:]


@dataclass(slots=True)
class Verdict:
    """`unavailable`: open times of candles that the exchange does not give (yet)."""

    equal: int = 0
    corrected: int = 0
    added: int = 0
    unavailable: list[int] = field(default_factory=list)
    events: list[CandlesClosed] = field(default_factory=list)


class _Correction(NamedTuple):
    open_ms: int
    theirs: tuple[float, ...]
    ours: Ours | None


def comparable(instrument: Instrument) -> bool:
    """Whether candles of an instrument can be compared at all."""
    klines = COMPARABLE.get(instrument.exchange)
    return klines is not None and parse_symbol(instrument.symbol).kind in klines.kinds


def compare(key: Key, ours: Mapping[int, Ours | None], theirs: Candles) -> Verdict:
    """Judge our candles by open time; None where a gap left none. Raises KeyError if they are not `comparable`."""
    decimals = COMPARABLE[key.instrument.exchange].volume_decimals
    given = {int(theirs.open_ms[at]): theirs.row(at)[1:6] for at in range(len(theirs))}
    verdict, wrong = Verdict(), list[_Correction]()
    for open_ms, own in sorted(ours.items()):
        values = given.get(open_ms)
        if values is None and (own is None or own.volume):
            verdict.unavailable.append(open_ms)
        elif values is None or (own is not None and _same(own.values, values, decimals)):
            verdict.equal += 1
        else:
            wrong.append(_Correction(open_ms, values, own))
    verdict.added = sum(one.ours is None for one in wrong)
    verdict.corrected = len(wrong) - verdict.added
    verdict.events = _events(key, wrong)
    return verdict


def _same(ours: Sequence[float], theirs: Sequence[float], decimals: int) -> bool:
    half_a_digit = 0.5 * 10.0**-decimals
    volumes = math.isclose(ours[4], theirs[4], rel_tol=SUM_TOLERANCE, abs_tol=half_a_digit)
    return volumes and tuple(ours[:4]) == tuple(theirs[:4])


def _events(key: Key, wrong: Sequence[_Correction]) -> list[CandlesClosed]:
    """Messages of one revision each; those that correct a candle say by how much, those that add one do not."""
    groups: dict[tuple[int, bool], list[_Correction]] = {}
    for one in wrong:
        revision = 1 if one.ours is None else one.ours.revision + 1
        groups.setdefault((revision, one.ours is None), []).append(one)
    return [
        _event(key, revision, rows[at : at + CANDLE_ROWS])
        for (revision, _), rows in groups.items()
        for at in range(0, len(rows), CANDLE_ROWS)
    ]


def _event(key: Key, revision: int, rows: Sequence[_Correction]) -> CandlesClosed:
    first, high, low, close, volume = (list(column) for column in zip(*(one.theirs for one in rows), strict=True))
    return CandlesClosed(
        exchange=key.instrument.exchange,
        symbol=key.instrument.symbol,
        timeframe=key.timeframe,
        origin="exchange",
        open_ms=[one.open_ms for one in rows],
        open=first,
        high=high,
        low=low,
        close=close,
        volume=volume,
        revision=revision,
        difference=_difference(rows),
    )


def _difference(rows: Sequence[_Correction]) -> Difference | None:
    moved = [
        [_minus(new, old) for new, old in zip(one.theirs, one.ours.values, strict=True)] for one in rows if one.ours
    ]
    if not moved:
        return None
    first, high, low, close, volume = (list(column) for column in zip(*moved, strict=True))
    return Difference(open=first, high=high, low=low, close=close, volume=volume)


def _minus(new: float, old: float) -> float:
    """As the decimals they print as: 0.3 minus 0.1 is 0.2."""
    return float(Decimal(repr(new)) - Decimal(repr(old)))
