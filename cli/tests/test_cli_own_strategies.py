"""Strategies in the folder of the configuration are found by name, run as configured, and told when they are broken."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from tocsin.__main__ import app

PATIENT = """\
from __future__ import annotations

from signal_engine.strategies.ema_cross import EmaCross


class Patient(EmaCross):
    name = "patient"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "strategies"
    made.mkdir()
    return made


@pytest.fixture
def config(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "tocsin.yaml"
    path.write_text(
        "signal_engine:\n"
        f"  strategies_folder: {folder}\n"
        "  strategies: [{name: patient, as: quick, params: {fast: 5, slow: 10}, timeframes: [1h]}, {name: patient}]\n"
        "  timeframes: [1h, 4h]\n"
        "  risk: {equity: 500, leverage_max: 1}\n"
    )
    return path


@pytest.fixture(scope="module")
def hours(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 candles of 1h of one market."""
    rows = pl.scan_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet")
    path = tmp_path_factory.mktemp("candles") / "hours.parquet"
    rows.filter(pl.col("symbol") == "BTC/USDT").head(1_500).collect().write_parquet(path)
    return path


def tocsin(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_signals_are_those_of_the_configured_variants(folder: Path, config: Path, hours: Path) -> None:
    (folder / "patient.py").write_text(PATIENT)
    result = tocsin("signals", "--from", hours, "--config", config, "--json")
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    judged = {(signal["strategy"], signal["timeframe"]) for signal in found}
    assert judged == {("quick", "1h"), ("patient", "1h"), ("patient", "4h")}
    assert all(signal["risk"]["equity"] == 500 and signal["risk"]["leverage_cap"] <= 1 for signal in found)


def test_a_strategy_of_the_folder_is_chosen_by_name(folder: Path, config: Path, hours: Path) -> None:
    (folder / "patient.py").write_text(PATIENT)
    options = ("--from", hours, "--config", config, "--timeframe", "1h", "--strategy", "patient:fast=6", "--cuts", 2)
    result = tocsin("check", "lookahead", *options)
    assert result.exit_code == 0, result.output
    assert "patient" in result.stdout


def test_a_strategy_that_breaks_is_said_and_not_taken_for_a_quiet_one(folder: Path, config: Path, hours: Path) -> None:
    looks = '    def long(self):\n        return super().long() & (pl.col("no_such_column") > 0)\n'
    (folder / "patient.py").write_text("import polars as pl\n" + PATIENT.partition("\n\n")[2] + "\n" + looks)
    for command in (("signals",), ("check", "lookahead", "--cuts", 2)):
        result = tocsin(*command, "--from", hours, "--config", config)
        assert result.exit_code == 1, result.output
        said = " ".join(result.stderr.split())
        assert "quick broke: ColumnNotFoundError: unable to find column" in said
        assert "patient broke: ColumnNotFoundError: unable to find column" in said


def test_a_broken_file_ends_the_command_before_anything_starts(folder: Path, config: Path, tmp_path: Path) -> None:
    (folder / "patient.py").write_text(PATIENT.replace("EmaCross)", "EmaCros)"))
    result = tocsin("up", "--config", config, "--data-dir", tmp_path / "data")
    assert result.exit_code == 2
    said = " ".join((result.stdout + result.stderr).split())
    assert "patient.py, line 6: NameError: name 'EmaCros' is not defined" in said
    assert not (tmp_path / "data").exists()
