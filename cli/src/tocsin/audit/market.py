"""Invariants of the market's part: trades and candles."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tocsin.audit.candles import BUILT_HERE, FIELDS, HISTORY, Candles
from tocsin.audit.facts import Facts
from tocsin.audit.trades import Column, Instrument
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

VOLUME_TOLERANCE = 1e-9
"""A long candle's volume is the rounded decimal sum of its trades; adding up its 1m volumes rounds once per minute."""


def trades_add_up(facts: Facts) -> Iterator[str]:
    """Trades on TRADES = trades in 1m candles + late ones + those of candles still open, at the last market mark."""
    mark = facts.last_mark("market")
    if mark is None:
        return
    stored = facts.trades.count(mark.trades_seq)
    inside = sum(
        int(candles.trades[candles.seq <= mark.candles_seq].sum()) for _, candles in facts.candles.minutes_built_here()
    )
    still_open = sum(
        _open_trades(facts, instrument, mark.trades_seq, mark.candles_seq) for instrument in facts.trades.times
    )
    late = facts.total("trades_late")
    if stored != inside + late + still_open:
        yield f"{stored} trades on TRADES, but {inside} in 1m candles + {late} late + {still_open} in open candles"


def no_candle_has_trades_that_are_not_stored(facts: Facts) -> Iterator[str]:
    """No 1m candle built here counts more trades than TRADES holds for its minute."""
    mark = facts.last_mark("market")
    for (exchange, symbol), candles in facts.candles.minutes_built_here() if mark else ():
        assert mark is not None
        minutes, counts = facts.trades.per_minute((exchange, symbol), mark.trades_seq)
        stored = _look_up(minutes, counts, candles.open_ms)
        for position in np.flatnonzero((candles.trades > stored) & (candles.seq <= mark.candles_seq)):
            yield (
                f"{exchange} {symbol} 1m {candles.open_ms[position]}: "
                f"{candles.trades[position]} trades counted, {stored[position]} stored"
            )


def every_candle_is_stored_once(facts: Facts) -> Iterator[str]:
    """No candle (instrument, timeframe, open time, revision) is on CANDLES twice."""
    for (exchange, symbol, timeframe), candles in facts.candles.by_key.items():
        again = (candles.open_ms[1:] == candles.open_ms[:-1]) & (candles.revision[1:] == candles.revision[:-1])
        for position in np.flatnonzero(again):
            yield f"{exchange} {symbol} {timeframe} {candles.open_ms[position]} revision {candles.revision[position]}"


def every_candle_is_possible(facts: Facts) -> Iterator[str]:
    """Every candle opens on a boundary, has finite positive prices, low <= open, close <= high, and volume >= 0."""
    for (exchange, symbol, timeframe), candles in facts.candles.by_key.items():
        opened, high, low, close, volume = candles.values.T
        good = np.isfinite(candles.values).all(axis=1) & (low > 0) & (volume >= 0)
        good &= (low <= np.minimum(opened, close)) & (high >= np.maximum(opened, close))
        good &= candles.open_ms % TIMEFRAME_MS[timeframe] == 0
        for position in np.flatnonzero(~good):
            yield f"{exchange} {symbol} {timeframe} {candles.open_ms[position]}: {candles.values[position].tolist()}"


def long_candles_are_made_of_short_ones(facts: Facts) -> Iterator[str]:
    """Every longer candle equals the aggregate of the instrument's candles of the next shorter stored timeframe.

    Seconds are no part of that: they are made from the trades themselves. Nor are corrections: each is what its
    exchange says.
    """
    for instrument in {(exchange, symbol) for exchange, symbol, _ in facts.candles.by_key}:
        stored = [timeframe for timeframe in TIMEFRAMES if (*instrument, timeframe) in facts.candles.by_key]
        for short, long in pairwise(stored):
            parts = facts.candles.by_key[*instrument, short].first()
            whole = facts.candles.by_key[*instrument, long].first()
            for open_ms, name, given, made in _differences(parts, whole, TIMEFRAME_MS[long]):
                exchange, symbol = instrument
                yield f"{exchange} {symbol} {long} {open_ms}: {name} is {given}, its {short} candles make {made}"


def _differences(parts: Candles, whole: Candles, length_ms: int) -> Iterator[tuple[int, str, float, float]]:
    """Open time, field, stored and aggregated value of every long candle that differs from its parts.

    Flat parts (no volume) of a candle that traded do not count: they repeat a price from before. Left out are long
    candles that nobody made from these parts: those of another origin, and history that begins later in the parts.
    """
    opens = parts.open_ms // length_ms * length_ms
    traded = parts.values[:, 4] > 0
    parts = parts.where(traded | ~np.isin(opens, opens[traded]))
    opens, starts = np.unique(parts.open_ms // length_ms * length_ms, return_index=True)
    if not len(opens):
        return
    made, origin = _aggregate(parts, starts), parts.origin[starts]
    made_later = (origin == HISTORY) & (opens < parts.open_ms[0])
    _, ours, theirs = np.intersect1d(opens, whole.open_ms, return_indices=True)
    expected, given = made[ours], whole.values[theirs]
    same = expected == given
    same[:, 4] |= np.isclose(expected[:, 4], given[:, 4], rtol=VOLUME_TOLERANCE, atol=0.0)
    same |= ((origin[ours] != whole.origin[theirs]) | made_later[ours])[:, np.newaxis]
    for row, column in np.argwhere(~same):
        yield int(whole.open_ms[theirs[row]]), FIELDS[column], float(given[row, column]), float(expected[row, column])


def _aggregate(parts: Candles, starts: Column) -> npt.NDArray[np.float64]:
    """Open, high, low, close and volume of the runs of candles that begin at `starts`."""
    opened, high, low, close, volume = parts.values.T
    ends = np.append(starts[1:], len(parts.open_ms)) - 1
    highest, lowest = np.maximum.reduceat(high, starts), np.minimum.reduceat(low, starts)
    return np.column_stack([opened[starts], highest, lowest, close[ends], np.add.reduceat(volume, starts)])


def _open_trades(facts: Facts, instrument: Instrument, trades_seq: int, candles_seq: int) -> int:
    """How many trades are of minutes after the instrument's last closed one."""
    minutes, counts = facts.trades.per_minute(instrument, trades_seq)
    candles = facts.candles.by_key.get((*instrument, "1m"))
    if candles is None:
        return int(counts.sum())
    closed = candles.open_ms[(candles.origin == BUILT_HERE) & (candles.seq <= candles_seq)]
    return int(counts[minutes > closed.max(initial=-1)].sum())


def _look_up(keys: Column, values: Column, wanted: Column) -> Column:
    """The values of `wanted` keys (`keys` ascending); 0 for those that are not there."""
    if not len(keys):
        return np.zeros_like(wanted)
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[position] == wanted, values[position], 0)
