"""Live windows, carried on from candle to candle: the values of whole windows, whatever comes, and less work."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_engine import indicators as ind
from signal_engine.columns import Asked, Column, Whole
from signal_engine.indicators.bars import Bars, LooksBack
from signal_engine.indicators.indicator import behind
from signal_engine.indicators.recursive import KEPT_VALUES, Recursive, Stepwise
from signal_engine.strategies import LOOK_BACK_CANDLES
from signal_engine.window import PRICES
from signal_engine.windows import Windows
from tocsin_common.events import CandlesClosed

Chunk = Callable[..., CandlesClosed]

WARM_UP_CANDLES = 256

EVERY = [*ind.INDICATORS, ind.landscape]
RECURSIVE = [one for one in EVERY if isinstance(behind(one()), Recursive)]
STEPWISE = [one for one in EVERY if isinstance(behind(one()), Stepwise)]
LOOKING_BACK = [one for one in EVERY if isinstance(behind(one()), LooksBack)]

COLUMNS = [
    *(Column(expr.meta.output_name(), expr, 0) for expr in (one() for one in RECURSIVE)),
    *(Column(expr.meta.output_name(), expr, ind.memory_of(expr)) for expr in (ind.sma(20), ind.highest(55))),
    Column("landscape_3", ind.landscape(3), ind.memory_of("landscape_3")),
    Column("obv", ind.obv(), 0),
    Column("close@1m", pl.col("close"), 0),
]


def window_of(seed: int, step: int, traded: float, rows: int) -> dict[str, Any]:
    """Candles of 1h on a coarse grid of prices, with equal highs, flat stretches and candles without a trade."""
    rng = np.random.default_rng(seed)
    close = 1_000.0 + np.cumsum(rng.integers(-step, step + 1, rows)).clip(-900)
    opened = np.concatenate((close[:1], close[:-1]))
    wicks = rng.integers(0, step + 1, (2, rows))
    return {
        "open": opened / 8,
        "high": (np.maximum(opened, close) + wicks[0]) / 8,
        "low": (np.minimum(opened, close) - wicks[1]) / 8,
        "close": close / 8,
        "volume": rng.integers(0, 50, rows) * (rng.random(rows) < traded) / 7,
        "open_ms": (np.arange(rows) + seed % 30) * 3_600_000,
    }


def frame_of(window: dict[str, Any]) -> pl.DataFrame:
    rows = len(window["open_ms"])
    number = pl.Series("window", np.zeros(rows), pl.UInt32)
    return pl.DataFrame(window).with_columns(number, pl.Series("preceding", np.arange(rows), pl.UInt32))


windows = st.builds(
    window_of,
    seed=st.integers(0, 2**32 - 1),
    step=st.sampled_from((0, 1, 3, 20)),
    traded=st.sampled_from((0.0, 0.5, 1.0)),
    rows=st.integers(20, 260),
)


@pytest.mark.parametrize("indicator", RECURSIVE, ids=lambda one: one.name)
@settings(max_examples=15)
@given(window=windows, share=st.floats(0, 1))
def test_what_is_carried_on_has_the_values_of_the_whole_window(
    indicator: ind.Indicator[Any], window: dict[str, Any], share: float
) -> None:
    recursive = behind(indicator())
    assert isinstance(recursive, Recursive)
    rows = len(window["open_ms"])
    cut = KEPT_VALUES + round(share * (rows - KEPT_VALUES - 1))
    whole = frame_of(window).select(indicator()).to_series().to_list()
    opened = recursive.opened(*(window[name][:cut] for name in recursive.columns))
    if opened is None:
        assert whole[:cut] == [None] * cut
        return
    update, values = opened
    found = values[-KEPT_VALUES:].tolist()
    found += [update(*(window[name][at].item() for name in recursive.columns)) for at in range(cut, rows)]
    assert [None if np.isnan(value) else value for value in found] == whole[cut - KEPT_VALUES :]


def phases_of(seed: int, rows: int) -> dict[str, Any]:
    """Candles that are wild for a while and hardly move for another: what was seen last grows old."""
    rng = np.random.default_rng(seed)
    step, wick, drift = (
        np.concatenate([np.full(length, rng.choice(sizes)) for length in (12, 12, 60, 110, 130, 4, 130, 40, 90)])
        for sizes in ((0, 0, 1, 20), (0, 1, 3), (-1, 0, 0, 1))
    )
    window = window_of(seed, 1, 1.0, rows)
    at = rng.integers(0, len(step) - 1) + np.arange(rows)
    step, wick, drift = (np.resize(column, 2 * rows + len(step))[at] for column in (step, wick, drift))
    close = 10_000.0 + np.cumsum(drift + rng.integers(-step, step + 1))
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opened, close) + rng.integers(0, wick + 1), np.minimum(opened, close) - wick
    return {**window, "open": opened, "high": high, "low": low, "close": close}


@pytest.mark.parametrize("indicator", STEPWISE, ids=lambda one: one.name)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_windows_in_step_have_the_values_of_each(indicator: ind.Indicator[Any], seed: int) -> None:
    stepwise, rows = behind(indicator()), 600
    assert isinstance(stepwise, Stepwise)
    several = [*(phases_of(seed + n, rows) for n in range(8)), window_of(seed, 3, 1.0, rows)]
    candles = np.array([[window[name] for window in several] for name in PRICES])
    state, ends = stepwise.begun(len(several)), range(stepwise.candles, rows + 1)
    values = np.stack([stepwise.step(state, candles[:, :, end - stepwise.candles : end]) for end in ends], axis=-1)
    for at, window in enumerate(several):
        whole = frame_of(window).select(indicator()).to_series()[ind.memory_of(indicator().meta.output_name()) :]
        found = stepwise.column(values[:, at, -len(whole) :])
        assert found.equals(whole, null_equal=True)


@pytest.mark.parametrize("indicator", LOOKING_BACK, ids=lambda one: one.name)
@settings(max_examples=8)
@given(window=windows, every=st.integers(1, 30))
def test_some_rows_have_the_values_they_have_among_all(
    indicator: ind.Indicator[Any], window: dict[str, Any], every: int
) -> None:
    column = behind(indicator())
    assert isinstance(column, LooksBack)
    frame, rows = frame_of(window), np.arange(0, len(window["open_ms"]), every)
    found = column.at(Bars.of([frame[name] for name in Bars._fields]), rows)
    assert found.equals(frame.select(indicator()).to_series()[rows], null_equal=True)


class Market:
    """Candles of a few symbols come, some at a time, now and then late, and with gaps."""

    def __init__(self, candles: pl.DataFrame, candles_event: Chunk, rng: random.Random) -> None:
        self.windows = Windows(WARM_UP_CANDLES, {"1m"})
        self.rng = rng
        self._event = candles_event
        self._left = [rows.head(700) for rows in candles.partition_by("symbol", maintain_order=True)]
        self._late: list[pl.DataFrame] = []
        for number, rows in enumerate(self._left):
            self.windows.add(candles_event(rows.head(330 - 20 * number)), pending=False)
            self._left[number] = rows[330 - 20 * number :]

    def step(self) -> None:
        """What closes next."""
        for number, rows in enumerate(self._left):
            count = self.rng.choice((0, 1, 1, 1, 1, 2, 9))
            if count and len(rows) > count:
                self._left[number] = rows[count:]
                left_out = self.rng.random() < 0.05
                self._late += [rows[:1]] if left_out else []
                if count > left_out:
                    self.windows.add(self._event(rows[int(left_out) : count]), pending=True)
        if self._late and self.rng.random() < 0.1:
            self.windows.add(self._event(self._late.pop()), pending=True)


def sparse_phases(seed: int) -> pl.DataFrame:
    """Three symbols in phases, half of whose candles of 1m are missing."""
    rng, found = np.random.default_rng(seed), []
    for number, name in enumerate(("A", "B", "C")):
        window = phases_of(seed + number, 1_400)
        rows = pl.DataFrame({**window, "open_ms": np.arange(1_400) * 60_000}).filter(
            rng.random(1_400) < 0.5 + number / 4
        )
        found.append(rows.with_columns(exchange=pl.lit("x"), symbol=pl.lit(name), timeframe=pl.lit("1m")).head(700))
    return pl.concat(found)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_a_row_has_the_values_of_its_whole_window(
    seed: int, minutes: pl.DataFrame, candles_event: Chunk
) -> None:
    candles = minutes if seed % 2 else sparse_phases(seed)
    market = Market(candles, candles_event, random.Random(seed))
    asked = [Asked.of(COLUMNS)]
    frames = 0
    for _ in range(70):
        if market.rng.random() < 0.9:
            market.windows.carry(lambda _: asked, 3)
        market.step()
        for frame in market.windows.frames():
            expected = Whole(frame.whole()).near(COLUMNS, LOOK_BACK_CANDLES)
            found = frame.near(COLUMNS, LOOK_BACK_CANDLES)
            assert in_order(found).equals(in_order(expected), null_equal=True)
            assert found["window"].n_unique() == expected["window"].n_unique()
            frames += 1
        market.windows.settle()
    assert frames > 50


def in_order(rows: pl.DataFrame, columns: Sequence[Column] = COLUMNS) -> pl.DataFrame:
    """By series and window, whatever the numbers of these."""
    names = ("series", "open_ms", *PRICES, "new", "preceding", *(column.name for column in columns))
    return rows.sort("series", "preceding", "open_ms").select(names)


def test_of_a_carried_window_only_the_end_is_read(minutes: pl.DataFrame, candles_event: Chunk) -> None:
    windows, columns = Windows(WARM_UP_CANDLES, {"1m"}), [COLUMNS[0], Column("sma_20", ind.sma(20), 20)]
    candles = minutes.filter(pl.col("symbol") == "ADA/USDT").head(321)
    windows.add(candles_event(candles[:320]), pending=False)
    windows.carry(lambda _: [Asked.of(columns)], 1)
    windows.add(candles_event(candles[320:]), pending=True)
    (frame,) = windows.frames()
    expected = Whole(frame.whole()).near(columns, LOOK_BACK_CANDLES)
    ((_, exported),) = windows.export()
    exported.values[:, : -(20 + LOOK_BACK_CANDLES + 1)] = np.nan
    assert in_order(frame.near(columns, LOOK_BACK_CANDLES), columns).equals(in_order(expected, columns))
