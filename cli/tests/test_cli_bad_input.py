"""Wrong use and wrong input: one clear sentence each, exit code 2, nothing started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from tocsin import market
from tocsin.__main__ import app
from tocsin.console import UsageError
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import ClockAdvanced

TRADES = (
    "exchange,symbol,ts_ms,price,amount\nbinance,BTC/USDT,1700000000000,100,1\nbinance,BTC/USDT,1700000000001,cheap,1\n"
)


def tocsin(*arguments: object, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environ)


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_an_unreadable_replay_file_is_named_with_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRADES)
    result = tocsin("replay", tmp_path / "t.csv", "--data-dir", tmp_path / "data")
    assert result.exit_code == 2
    assert f"{tmp_path}/t.csv: row 2, column 'price': 'cheap' was found" in said(result)
    assert not (tmp_path / "data").exists()


def test_up_checks_replay_files_too(tmp_path: Path) -> None:
    result = tocsin("up", "--source", "replay", "--data-dir", tmp_path / "data", tmp_path / "missing.csv")
    assert result.exit_code == 2
    assert "missing.csv: cannot be read" in said(result)
    assert not (tmp_path / "data").exists()


def test_a_wrong_configuration_is_told_completely(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.yaml"
    config.write_text(
        "market_ingest: {source: {kind: simulator, speed: -1}}\n"
        "alerting: {email: {port: 0}, telegram: {token: [hush]}}\n"
        "signal_engine: {timeframes: [2m]}\n"
        "seed: {portfolios: [{portfolio_id: p, cash: much}]}\n"
        "alarting: {}\n"
    )
    result = tocsin("up", "--config", config, "--data-dir", tmp_path / "data")
    assert result.exit_code == 2
    text = said(result)
    for key in (
        "alarting: unknown section",
        "market_ingest.source.simulator.speed",
        "signal_engine.timeframes.0",
        "alerting.telegram.token",
        "alerting.email.port",
        "seed.portfolios[0]",
    ):
        assert key in text
    assert "hush" not in text
    assert not (tmp_path / "data").exists()


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    result = tocsin("doctor", "--config", tmp_path / "none.yaml", "--data-dir", tmp_path / "data")
    assert result.exit_code == 1
    assert "none.yaml: cannot be read" in said(result)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["file.parquet"], "--source replay"),
        (["--source", "replay"], "at least one trade or candle file"),
        (["--source", "live"], "--exchange and --symbols"),
        (["--exchange", "binance"], "--source live"),
        (["--source", "live", "--exchange", "binance", "--symbols", "BTC/USDT", "--speed", "2"], "own pace"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: Sequence[str], expected: str, tmp_path: Path) -> None:
    result = tocsin("up", *arguments, "--data-dir", tmp_path / "data")
    assert result.exit_code == 2
    assert expected in said(result)
    assert not (tmp_path / "data").exists()


def test_options_become_configuration() -> None:
    live = market.overrides(market.SourceKind.LIVE, [], exchange="binance, kraken", symbols="BTC/USDT,ETH/USDT")
    assert msgspec.json.decode(live["market_ingest.source"]) == {
        "kind": "live",
        "exchanges": {
            "binance": {"symbols": ["BTC/USDT", "ETH/USDT"]},
            "kraken": {"symbols": ["BTC/USDT", "ETH/USDT"]},
        },
    }
    assert market.overrides(None, [], speed=5.0, seed=3) == {
        "market_ingest.source.speed": "5.0",
        "market_ingest.source.seed": "3",
    }
    assert market.overrides(None, []) == {}


async def test_a_market_of_another_kind_is_not_mixed_in(memory_bus: MemoryBus) -> None:
    await market.refuse_another_market(memory_bus, "live")
    mark = ClockAdvanced(stage="market", source="simulator:1", time_ms=5, trades_seq=0, candles_seq=0)
    await memory_bus.publish([mark])
    await market.refuse_another_market(memory_bus, "simulator")
    with pytest.raises(UsageError, match=r"hold a simulator market .* --data-dir"):
        await market.refuse_another_market(memory_bus, "live")


def test_servers_that_are_not_there_are_named_without_credentials(tmp_path: Path) -> None:
    result = tocsin("migrate", "--postgres", "postgresql://me:hush@127.0.0.1:1/x", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "postgresql://127.0.0.1:1/x cannot be used" in said(result)
    assert "hush" not in result.output
