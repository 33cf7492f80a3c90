"""The strategy that the guide teaches is a strategy: its code runs, fires, and looks at nothing it must not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from signal_engine.history import signals_of
from signal_engine.lookahead import check_lookahead
from signal_engine.strategies import STRATEGIES, AnyStrategy
from signal_engine.strategies.loading import catalogue

Market = Callable[..., pl.DataFrame]
WithHigher = Callable[..., pl.DataFrame]

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "strategies.md"
CANDLES = 1_600


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> AnyStrategy:
    """The guide's strategy, out of a folder as the guide says."""
    (code,) = re.findall(r'```python\n(""".*?)```', GUIDE.read_text(), re.DOTALL)
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "keltner_ride.py").write_text(code)
    found = catalogue(folder)
    assert not found.problems
    kind = found.kinds["keltner_ride"]
    return kind(kind.params_type())


def test_it_buys_the_close_that_leaves_the_channel_when_the_hours_above_agree(
    taught: AnyStrategy, market: Market, with_higher: WithHigher
) -> None:
    rise = [400 + 0.05 * n + (0.2 if n % 2 else 0.0) for n in range(CANDLES)]
    candles = with_higher(market([*rise, rise[-1] + 3], {CANDLES: 3.0}, "15m"), "1h", "4h")
    signal = signals_of([taught], candles)[-1]
    assert (signal.timeframe, signal.side, signal.candle_open_ms) == ("15m", "long", CANDLES * 900_000)
    assert signal.entry > signal.features["edge"]
    assert signal.reasons[1].startswith("the close of 4h (")


def test_it_fires_on_both_sides_of_real_markets_and_does_not_look_ahead(
    taught: AnyStrategy, month: pl.DataFrame
) -> None:
    candles = month.filter((pl.col("symbol") == "ETH/USDT") & (pl.col("timeframe") != "5m"))
    assert {signal.side for signal in signals_of([taught], candles)} == {"long", "short"}
    assert not check_lookahead([taught], candles, cuts=5, seed=1)["keltner_ride"].differing


def test_the_guide_names_every_strategy_that_is_shipped() -> None:
    overview, _, _ = GUIDE.read_text().partition("\n## ")
    named = re.findall(r"^\| `(\w+)` \|", overview, re.MULTILINE)
    assert sorted(named) == sorted(STRATEGIES)
