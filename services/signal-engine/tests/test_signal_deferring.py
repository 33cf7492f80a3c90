"""Marks of one moment, evaluated together: the signals of each alone, in the same order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.strategies import Judgement, Params, Row, Strategy
from tocsin_common.events import CandlesClosed, Side, SignalRaised, encode
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]

TIMEFRAMES = ("5m", "15m", "1h", "4h")
HOUR_MS = TIMEFRAME_MS["1h"]
HOURS = 24


class Everywhere(Strategy[Params]):
    """Fires on every candle, and says what it saw above."""

    name = "everywhere"
    version = "1"
    params_type = Params

    def indicators(self) -> list[pl.Expr]:
        return [ind.ema(3)]

    @property
    def warm_up_candles(self) -> int:
        return 20

    def higher(self) -> Mapping[str, Sequence[pl.Expr]]:
        return {"1h": [pl.col("close")], "4h": [pl.col("close")]}

    def long(self) -> pl.Expr:
        return pl.col("close") > 0

    def short(self) -> pl.Expr:
        return pl.col("close") < 0

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(
            50, [side], {"ema": row["ema_3"], "above": (row["close@1h"] or 0.0) + (row["close@4h"] or 0.0)}
        )


Mark = tuple[int, Sequence[CandlesClosed]]
"""Its time, and the candles stored before it and behind the one before."""


def marks(candles: pl.DataFrame, message: Chunk, rng: random.Random) -> Iterator[Mark]:
    """All that closed before the last HOURS at once; then of each hour what closed in it, and what closes at its end in
    random order, some candles at a time: all of these marks but the last are of the moment before. A candle that closed
    in the hour comes late, among them."""
    closes_ms = pl.col("open_ms") + pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
    closing = candles.with_columns(closes_ms=closes_ms)
    last_ms = closing["closes_ms"].max()
    assert isinstance(last_ms, int)
    before_ms = last_ms // HOUR_MS * HOUR_MS - HOURS * HOUR_MS

    def messages_of(part: pl.DataFrame) -> list[CandlesClosed]:
        found = [message(rows) for _, rows in part.group_by("symbol", "timeframe", maintain_order=True)]
        rng.shuffle(found)
        return found

    yield before_ms, messages_of(closing.filter(pl.col("closes_ms") <= before_ms))
    for end_ms in range(before_ms + HOUR_MS, last_ms + 1, HOUR_MS):
        inside = closing.filter(pl.col("closes_ms").is_between(end_ms - HOUR_MS, end_ms, closed="none"))
        late = rng.randrange(len(inside) // 2)
        yield end_ms - 1, messages_of(pl.concat([inside[:late], inside[late + 1 :]]))
        waiting = [*messages_of(closing.filter(pl.col("closes_ms") == end_ms)), message(inside[late : late + 1])]
        rng.shuffle(waiting)
        while waiting:
            count = rng.choice((1, 2, 3))
            some, waiting = waiting[:count], waiting[count:]
            yield end_ms - 1 if waiting else end_ms, some


@pytest.mark.parametrize("seed", range(2))
def test_together_they_give_what_each_gives_alone(month: pl.DataFrame, candles_event: Chunk, seed: int) -> None:
    rng = random.Random(seed)
    alone, together = (Engine([Everywhere(Params())], TIMEFRAMES) for _ in range(2))
    found: list[list[SignalRaised]] = [[], []]
    deferred = 0
    latest = month.filter(pl.col("open_ms") > pl.col("open_ms").max() - 200 * HOUR_MS)
    every = list(marks(latest, candles_event, rng))
    for (time_ms, messages), (next_ms, _) in zip(every, [*every[1:], (0, ())], strict=True):
        alone.add(messages)
        found[0] += alone.evaluate(time_ms)
        together.add(messages)
        if next_ms == time_ms and rng.random() < 0.8 and together.defer(time_ms):
            deferred += 1
        else:
            found[1] += together.evaluate(time_ms)
    assert [encode(signal) for signal in found[1]] == [encode(signal) for signal in found[0]]
    assert deferred > HOURS
    assert sum(signal.confirmed_ms > every[0][0] for signal in found[0]) > 10 * HOURS


def test_what_ended_before_a_mark_is_not_put_off(month: pl.DataFrame, candles_event: Chunk) -> None:
    rows = month.filter((pl.col("symbol") == "ETH/USDT") & (pl.col("timeframe") == "15m")).head(400)
    engine, end_ms = Engine([Everywhere(Params())], TIMEFRAMES), rows["open_ms"][-1] + 900_000
    engine.add([candles_event(rows.head(399))])
    assert not engine.defer(end_ms - 1), "candles that ended long ago"
    engine.evaluate(end_ms - 900_000)
    engine.add([candles_event(rows.tail(1))])
    assert not engine.defer(end_ms), "it ended just now: nothing is waited for"
    assert engine.defer(end_ms - 1)
