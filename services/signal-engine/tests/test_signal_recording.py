"""A recording keeps candles by the rules of the engine."""

from __future__ import annotations

import polars as pl

from signal_engine.recording import Recording
from tocsin_common.events import CandlesClosed, Origin

MINUTE_MS = 60_000


def message(minutes: list[int], *, price: float = 1.0, timeframe: str = "1m", **changes: object) -> CandlesClosed:
    prices, origin = [price] * len(minutes), "trades"
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), prices)
    names = {"exchange": "test", "symbol": "A/B", "timeframe": timeframe, "origin": origin}
    return CandlesClosed(**{**names, "open_ms": [at * MINUTE_MS for at in minutes], **columns, **changes})  # type: ignore[arg-type]


def recorded(*messages: CandlesClosed) -> pl.DataFrame:
    recording = Recording()
    for one in messages:
        recording.add(one)
    return recording.frame()


def test_of_several_candles_with_one_open_time_the_first_counts() -> None:
    frame = recorded(message([0, 1], price=1.0), message([1, 2], price=2.0))
    assert frame["open_ms"].to_list() == [0, MINUTE_MS, 2 * MINUTE_MS]
    assert frame["close"].to_list() == [1.0, 1.0, 2.0]


def test_corrections_and_disordered_messages_do_not_count() -> None:
    frame = recorded(message([0]), message([0, 1], revision=1), message([3, 2]), message([4]))
    assert frame["open_ms"].to_list() == [0, 4 * MINUTE_MS]


def test_a_late_candle_says_which_signals_were_judged_without_it() -> None:
    frame = recorded(message([0]), message([2, 3]), message([0], timeframe="5m"), message([1, 2, 4]))
    late = frame.filter(pl.col("late_from_ms").is_not_null())
    assert late["open_ms"].to_list() == [MINUTE_MS]
    assert late.select("late_from_ms", "late_to_ms").row(0) == (2 * MINUTE_MS, 5 * MINUTE_MS)


def test_backfill_is_known_by_its_origin() -> None:
    origin: Origin = "history"
    frame = recorded(message([0], origin=origin), message([1]))
    assert frame["warm_up"].to_list() == [True, False]
