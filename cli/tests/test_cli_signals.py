"""Candle files become signals without any server."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from signal_engine.history import signals_of
from signal_engine.strategies import build
from tocsin.__main__ import app
from tocsin_common.events import encode

COLUMNS = ["exchange", "symbol", "timeframe", "ts_ms", "open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def hours(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 candles of 1h of two markets."""
    rows = pl.scan_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet")
    some = rows.filter(pl.col("symbol").is_in(["BTC/USDT", "ETH/USDT"])).collect().sort("symbol", "ts_ms")
    path = tmp_path_factory.mktemp("candles") / "hours.parquet"
    some.group_by("symbol", maintain_order=True).head(2_000).select(COLUMNS).write_parquet(path)
    return path


def signals(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["signals", *map(str, arguments)])


def test_every_signal_is_a_line_equal_to_the_whole_history_query(hours: Path) -> None:
    result = signals("--from", hours, "--timeframe", "1h", "--strategy", "ema_cross:fast=9,targets_r=[1, 2]", "--json")
    assert result.exit_code == 0, result.output
    strategy = build("ema_cross", {"fast": 9, "targets_r": [1, 2]})
    expected = signals_of([strategy], pl.read_parquet(hours).rename({"ts_ms": "open_ms"}))
    assert len(expected) > 20
    assert result.stdout.splitlines() == [encode(signal).decode() for signal in expected]
    assert f"ema_cross: {len(expected)} signals in 4,000 candles" in result.stderr


def test_longer_candles_are_made_of_the_files(hours: Path) -> None:
    result = signals("--from", hours, "--timeframe", "4h", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {signal["timeframe"] for signal in found} == {"4h"}
    assert "in 1,000 candles" in result.stderr


def test_the_table_shows_the_newest_and_says_that_there_are_more(hours: Path) -> None:
    result = signals("--from", hours, "--timeframe", "1h", "--rows", "3")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.strip().splitlines()) == 1 + 3
    assert "BTC/USDT" in result.stdout
    assert "more with --rows" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strategy", "ema_crss"], "there is no strategy 'ema_crss'; the strategies are"),
        (["--strategy", "ema_cross:fast=60"], "fast 60"),
        (["--strategy", "ema_cross:fast"], "'fast' is no parameter; write ema_cross:key=value"),
        (["--strategy", "ema_cross:fast=[1"], "is no parameter"),
        (["--timeframe", "7m"], "--timeframe '7m' is none"),
        (["--timeframe", "1m"], "no candle of 1m"),
    ],
)
def test_wrong_options_are_one_sentence(hours: Path, arguments: list[str], expected: str) -> None:
    result = signals("--from", hours, *arguments)
    assert result.exit_code == 2
    assert expected in " ".join(result.output.split())


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    result = signals("--from", tmp_path / "missing.parquet")
    assert result.exit_code == 2
    assert "missing.parquet: cannot be read" in " ".join(result.output.split())
