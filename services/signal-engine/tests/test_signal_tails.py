"""The ends of windows: as far back as asked, never into another window, and of the same values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_engine import indicators as ind
from signal_engine.frames import parts_of
from signal_engine.indicators.bars import looks_back
from signal_engine.tails import Tails
from signal_engine.window import PRICES


def frame_of(windows: list[list[bool]]) -> pl.DataFrame:
    """Windows with which of their rows are new; their closes count all rows."""
    sizes = [len(window) for window in windows]
    return pl.DataFrame(
        {
            "window": pl.Series(np.repeat(np.arange(len(sizes)), sizes), dtype=pl.UInt32),
            "new": pl.Series([new for window in windows for new in window], dtype=pl.Boolean),
            "preceding": pl.Series([at for size in sizes for at in range(size)], dtype=pl.UInt32),
        }
    ).with_columns(pl.int_range(pl.len()).alias(name) for name in PRICES)


news = st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=5)


@given(windows=news, candles=st.integers(0, 14))
def test_a_row_is_kept_when_a_new_one_of_its_window_is_so_near(windows: list[list[bool]], candles: int) -> None:
    near = [any(window[at : at + candles + 1]) for window in windows for at in range(len(window))]
    expected = [at for at, here in enumerate(near) if here]
    tails = Tails(frame_of(windows))
    rows = tails.rows(candles)
    assert rows.tolist() == expected
    assert tails.of(rows)["close"].to_list() == expected


@given(windows=news, rows=st.integers(1, 20))
def test_parts_are_whole_windows_and_together_the_frame(windows: list[list[bool]], rows: int) -> None:
    frame = frame_of(windows)
    parts = list(parts_of(frame, rows))
    assert pl.concat(parts).equals(frame)
    assert all(part["preceding"][0] == 0 for part in parts)
    assert all(len(part) < rows + max(map(len, windows)) for part in parts)


def test_stretches_are_windows_of_their_own() -> None:
    far_apart = [True, False, False, False, True]
    tails = Tails(frame_of([far_apart, [False, True]]))
    frame = tails.of(tails.rows(1))
    assert frame["window"].to_list() == [0, 1, 1, 2, 2]
    assert frame["preceding"].to_list() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "column", [ind.structure_trend(3), ind.order_block_bull_low(2), ind.highest(55), ind.lowest(7)]
)
def test_a_column_that_looks_back_is_the_same_on_an_end(column: pl.Expr, minutes: pl.DataFrame) -> None:
    memory = ind.memory_of(column)
    whole = minutes.with_columns(
        pl.struct("symbol").rle_id().alias("window"),
        pl.int_range(pl.len(), dtype=pl.UInt32).over("symbol").alias("preceding"),
        new=(pl.int_range(pl.len()) % 700 == 699),
    )
    assert looks_back(column)
    tails = Tails(whole)
    rows = tails.rows(memory)
    found = tails.of(rows).with_columns(column, new=whole["new"][rows]).filter("new")
    assert found[column.meta.output_name()].equals(
        whole.with_columns(column).filter("new")[column.meta.output_name()], null_equal=True
    )
    assert len(rows) < len(whole) / 2


@pytest.mark.parametrize("column", [ind.ema(20), ind.vwap_session(), ind.highest(5) - ind.sma(5), pl.col("close")])
def test_what_sums_up_or_is_put_together_does_not_count_as_looking_back(column: pl.Expr) -> None:
    assert not looks_back(column)
