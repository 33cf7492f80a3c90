"""Strategies of third parties: installed or in a folder, and what is said of those that are broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from signal_engine import choices
from signal_engine.config import Settings
from signal_engine.history import signals_of
from signal_engine.strategies import STRATEGIES, loading
from signal_engine.strategies.loading import catalogue
from tocsin_common.config import load
from tocsin_common.errors import ConfigError

MOMENTUM = '''\
"""Momentum: go with an RSI that crosses its middle."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from signal_engine import indicators as ind
from signal_engine.strategies import Judgement, Params, Row, Strategy
from tocsin_common.events import Side


class MomentumParams(Params):
    period: int = Field(default=10, ge=2, le=50, description="Candles of the RSI.")


class Momentum(Strategy[MomentumParams]):
    name = "momentum"
    version = "1"
    params_type = MomentumParams

    def indicators(self) -> list[pl.Expr]:
        return [ind.rsi(self.params.period)]

    def long(self) -> pl.Expr:
        return ind.crosses_above(pl.col(f"rsi_{self.params.period}"), 55)

    def short(self) -> pl.Expr:
        return ind.crosses_below(pl.col(f"rsi_{self.params.period}"), 45)

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=["the RSI left its middle"], features={})
'''


def install(site: Path, module: str, text: str, entry_point: str) -> None:
    """What pip leaves in site-packages of a distribution that names one strategy."""
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[tocsin.strategies]\n{entry_point}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are imported from."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "strategies"
    made.mkdir()
    return made


def settings(folder: Path | None, strategies: str) -> Settings:
    environ = {"TOCSIN__SIGNAL_ENGINE__STRATEGIES": strategies, "TOCSIN__SIGNAL_ENGINE__TIMEFRAMES": "[1m]"}
    if folder:
        environ["TOCSIN__SIGNAL_ENGINE__STRATEGIES_FOLDER"] = str(folder)
    return load(Settings, environ=environ)


def problems(folder: Path, strategies: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(folder, strategies)
    return caught.value.problems


def test_a_file_in_the_folder_is_a_strategy_like_any_other(folder: Path, minutes: pl.DataFrame) -> None:
    (folder / "momentum.py").write_text(MOMENTUM)
    section = settings(folder, "[{name: momentum, as: quick, params: {period: 5}}, {name: momentum}]").signal_engine
    signals = signals_of(section.build(), minutes.head(1_000))
    assert {signal.strategy for signal in signals} == {"quick", "momentum"}
    assert {signal.definition for signal in signals} == {"momentum", ""}


def test_files_share_what_is_in_one_that_is_not_for_the_engine(folder: Path) -> None:
    (folder / "_levels_of_mine.py").write_text("UPPER = 60\n\n\nclass NoStrategy: ...\n")
    shared = MOMENTUM.replace("import polars as pl\n", "import polars as pl\nfrom _levels_of_mine import UPPER\n")
    (folder / "momentum.py").write_text(shared.replace("55)", "UPPER)"))
    (strategy,) = settings(folder, "[{name: momentum}]").signal_engine.build()
    assert "60" in str(strategy.long())


def test_an_installed_distribution_brings_its_strategy(site: Path, minutes: pl.DataFrame) -> None:
    install(site, "somebodys_momentum", MOMENTUM, "momentum = somebodys_momentum:Momentum")
    section = settings(None, "[{name: momentum}, {name: ema_cross}]").signal_engine
    assert section.kinds().keys() == STRATEGIES.keys() | {"momentum"}
    signals = signals_of(section.build(), minutes.head(1_000))
    assert {signal.strategy for signal in signals} == {"momentum", "ema_cross"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\ny = (\n", "broken.py, line 2: SyntaxError: '(' was never closed"),
        ("x = 1\n\ny = x / 0\n", "broken.py, line 3: ZeroDivisionError: division by zero"),
        ("import no_such_package\n", "broken.py, line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1\n", "TypeError: there is no strategy in it"),
        (MOMENTUM.replace('    version = "1"\n', ""), "TypeError: Momentum (line 17) lacks version"),
        (MOMENTUM.replace("def judge", "def jugde"), "TypeError: Momentum (line 17) lacks judge"),
        ("raise SystemExit('bye')\n", "broken.py, line 1: SystemExit: bye"),
    ],
)
def test_a_broken_file_is_told_with_its_line_and_what_is_wrong(folder: Path, text: str, complaint: str) -> None:
    (folder / "broken.py").write_text(text)
    (problem,) = catalogue(folder).problems
    assert problem.startswith(f"the file {folder / 'broken.py'} cannot be used: ")
    assert problem.endswith(complaint)


@pytest.mark.parametrize(
    ("text", "entry_point", "complaint"),
    [
        ("x = 1\n\ny = x / 0\n", "somebodys_broken:Momentum", "somebodys_broken.py, line 3: ZeroDivisionError"),
        (MOMENTUM, "somebodys_broken:Nothing", "AttributeError: module 'somebodys_broken' has no attribute 'Nothing'"),
        (MOMENTUM, "somebodys_broken:MomentumParams", "is not a subclass of Strategy"),
        (MOMENTUM, "somebodys_other:Momentum", "ModuleNotFoundError: No module named 'somebodys_other'"),
    ],
)
def test_a_broken_entry_point_is_told_with_its_distribution(
    site: Path, text: str, entry_point: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "somebodys_broken", text, f"broken = {entry_point}")
    monkeypatch.delitem(sys.modules, "somebodys_broken", raising=False)
    (problem,) = catalogue().problems
    assert problem.startswith(f"the entry point broken ({entry_point}) of somebodys_broken 1.2 cannot be used: ")
    assert complaint in problem


def test_a_file_that_never_ends_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOAD_S", 0.05)
    (folder / "endless.py").write_text("while True:\n    pass\n")
    (problem,) = catalogue(folder).problems
    assert "TooSlow: still in <module> (endless.py, line " in problem


def test_a_strategy_that_cannot_be_built_is_told_with_its_line(folder: Path) -> None:
    (folder / "momentum.py").write_text(MOMENTUM.replace("ind.crosses_above(", "ind.crosses_over("))
    (problem,) = problems(folder, "[{name: momentum}]")
    assert f"momentum cannot be used: {folder / 'momentum.py'}, line 26: AttributeError: module" in problem


def test_a_strategy_that_is_never_done_being_built_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "LOAD_S", 0.05)
    endless = MOMENTUM.replace(
        "        return [ind.rsi", "        while True:\n            pass\n        return [ind.rsi"
    )
    (folder / "momentum.py").write_text(endless)
    (problem,) = problems(folder, "[{name: momentum}]")
    assert "still in indicators (momentum.py, line 2" in problem


def test_a_name_that_exists_twice_is_refused(folder: Path) -> None:
    (folder / "a.py").write_text(MOMENTUM)
    (folder / "b.py").write_text(MOMENTUM)
    (folder / "c.py").write_text(MOMENTUM.replace('"momentum"', '"ema_cross"'))
    first, second, third = (f"the file {folder / name}" for name in ("a.py", "b.py", "c.py"))
    assert catalogue(folder).problems == [
        f"there are two strategies 'momentum', in {first} and in {second}: rename one",
        f"there are two strategies 'ema_cross', in Tocsin itself and in {third}: rename one",
    ]


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(folder: Path) -> None:
    path = folder / "momentum.py"
    path.write_text(MOMENTUM)
    first = catalogue(folder).kinds["momentum"]
    assert catalogue(folder).kinds["momentum"] is first
    path.write_text(MOMENTUM.replace('version = "1"', 'version = "2"'))
    os.utime(path, ns=(0, 0))
    assert catalogue(folder).kinds["momentum"].version == "2"


def test_what_may_be_in_a_broken_file_is_not_called_unknown(folder: Path) -> None:
    (folder / "broken.py").write_text("x = (\n")
    (problem,) = problems(folder, "[{name: momentum}]")
    assert "broken.py cannot be used" in problem


def test_the_service_ends_with_exit_code_2_and_every_mistake(folder: Path) -> None:
    (folder / "broken.py").write_text("x = (\n")
    (folder / "endless.py").write_text("1 / 0\n")
    environ = {
        "TOCSIN__SIGNAL_ENGINE__STRATEGIES_FOLDER": str(folder),
        "TOCSIN__SIGNAL_ENGINE__STRATEGIES": "[{name: ema_cross, params: {fast: 0}}]",
        "TOCSIN__SIGNAL_ENGINE__TIMEFRAMES": "[2m]",
    }
    done = subprocess.run(
        [sys.executable, "-m", "signal_engine"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    for complaint in ("broken.py, line 1", "endless.py, line 1", "fast 0", "signal_engine.timeframes.0"):
        assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 4
