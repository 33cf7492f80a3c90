"""`tocsin check` on candle files: honest strategies pass, cheats are named, and the exit code says which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from signal_engine.strategies import BY_DEFAULT, STRATEGIES
from signal_engine.strategies.ema_cross import EmaCross
from tocsin.__main__ import app


class Peeks(EmaCross):
    """An EMA cross that waits for a candle it cannot have seen."""

    name = "peeks"

    def long(self) -> pl.Expr:
        return super().long() & (pl.col("close").shift(-1) > pl.col("close"))


@pytest.fixture
def peeks() -> Iterator[None]:
    """Ships a strategy that cheats."""
    STRATEGIES["peeks"] = Peeks
    yield
    del STRATEGIES["peeks"]


@pytest.fixture(scope="module")
def hours(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """800 candles of 1h of two markets."""
    rows = pl.scan_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet")
    some = rows.filter(pl.col("symbol").is_in(["BTC/USDT", "ETH/USDT"])).collect().sort("symbol", "ts_ms")
    path = tmp_path_factory.mktemp("candles") / "hours.parquet"
    some.group_by("symbol", maintain_order=True).head(800).write_parquet(path)
    return path


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_the_shipped_strategies_do_not_look_ahead(hours: Path) -> None:
    result = check("lookahead", "--from", hours, "--timeframe", "1h", "--timeframe", "4h", "--cuts", 5)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("does not look ahead") + result.stdout.count("no signal to check") == len(BY_DEFAULT)


@pytest.mark.usefixtures("peeks")
def test_a_cheat_is_named_with_both_values(hours: Path) -> None:
    options = ("--from", hours, "--timeframe", "1h", "--cuts", 2)
    result = check("lookahead", *options, "--strategy", "peeks")
    assert result.exit_code == 1
    assert "looks ahead" in result.stdout
    assert "signal is long on all of history, none when the data end sooner" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("peeks")
def test_the_object_says_it_too(hours: Path) -> None:
    strategies = ("--strategy", "peeks", "--strategy", "ema_cross")
    result = check("lookahead", "--from", hours, "--timeframe", "1h", "--cuts", 2, *strategies, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["strategies"]["peeks"]["first"]["whole"] == "long"
    assert document["strategies"]["ema_cross"]["first"] is None


def test_wrong_use_is_one_sentence(tmp_path: Path) -> None:
    result = check("lookahead", "--from", tmp_path / "none.csv")
    assert result.exit_code == 2
    assert "none.csv: cannot be read" in " ".join(result.output.split())


class Impatient(EmaCross):
    """An EMA cross whose author thinks that forty candles are enough of everything."""

    name = "impatient"

    def memory(self, expr: pl.Expr) -> int:
        return 40


@pytest.fixture
def impatient() -> Iterator[None]:
    """Ships a strategy that warms up for too short a time."""
    STRATEGIES["impatient"] = Impatient
    yield
    del STRATEGIES["impatient"]


def test_a_warm_up_that_suffices_is_said_to_and_every_indicator_is_listed(hours: Path) -> None:
    result = check("warmup", "--from", hours, "--timeframe", "1h", "--strategy", "ema_cross")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(line.startswith("ema_cross 1h ") for line in lines)
    assert any(line.startswith("obv none") and line.endswith("never forgets") for line in lines)
    assert "suffices" in result.stdout


@pytest.mark.usefixtures("impatient")
def test_a_warm_up_that_is_too_short_fails_the_check(hours: Path) -> None:
    options = ("--from", hours, "--timeframe", "1h", "--strategy", "impatient", "--strategy", "ema_cross")
    result = check("warmup", *options, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["strategies"]["impatient"]["drifts"]["sma_100"] == "absent"
    assert document["strategies"]["ema_cross"]["suffices"] is True
    assert document["indicators"]["obv"]["memory"] is None
    assert "too short" in check("warmup", *options).stdout


def test_files_too_short_to_judge_a_warm_up_are_wrong_input(hours: Path) -> None:
    result = check("warmup", "--from", hours, "--timeframe", "4h", "--strategy", "ema_cross")
    assert result.exit_code == 2
    assert "takes twice as many" in " ".join(result.output.split())
