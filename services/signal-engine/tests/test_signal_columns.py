"""Columns on the rows that are looked at: the values that whole windows give."""

from __future__ import annotations

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.columns import Column, Whole

COLUMNS = [ind.ema(20), ind.vwap_session(), ind.sma(20), ind.highest(55), ind.structure_trend(3), ind.obv()]


@pytest.fixture
def windows(minutes: pl.DataFrame) -> pl.DataFrame:
    """A window of 400 candles of each of 23 symbols; a few in their middle are new, and the last."""
    rows = minutes.group_by("symbol", maintain_order=True).head(400)
    return rows.with_columns(
        pl.struct("symbol").rle_id().alias("window"),
        pl.int_range(pl.len(), dtype=pl.UInt32).over("symbol").alias("preceding"),
    ).with_columns(new=pl.col("preceding").is_in([210, 212, 399]))


@pytest.mark.parametrize("look_back", [0, 5])
def test_a_row_near_a_new_one_has_the_values_of_its_whole_window(windows: pl.DataFrame, look_back: int) -> None:
    asked = [Column(f"{expr.meta.output_name()}@1m", expr, _memory(expr)) for expr in COLUMNS]
    whole = windows.with_columns(column.expr.alias(column.name) for column in asked)
    looked_at = {at - back for at in (210, 212, 399) for back in range(look_back + 1)}
    expected = whole.filter(pl.col("preceding").is_in(list(looked_at)))
    assert Whole(windows).near(asked, look_back).select(whole.columns).equals(expected)


def test_what_is_not_warm_is_not_shown() -> None:
    frame = pl.DataFrame({"close": [1.0, 2.0, 3.0], "preceding": [0, 1, 2]})
    assert frame.select(Column("close@1h", pl.col("close"), 2).warm).to_series().to_list() == [None, None, 3.0]


def _memory(expr: pl.Expr) -> int:
    try:
        return ind.memory_of(expr)
    except ValueError:  # it has none, and is computed of whole windows anyway
        return 0
