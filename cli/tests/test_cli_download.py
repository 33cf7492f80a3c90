"""`tocsin download`: real ccxt, a local exchange, and files that `tocsin replay` reads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import Result
from tests.exchange import BinanceExchange
from typer.testing import CliRunner

from market_ingest.sources.replay import check_files
from tocsin.__main__ import app

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MINUTES = 20 * 60
BTC = "binance_BTC-USDT_1m.parquet"


class Running:
    """The exchange, in a thread of its own: the command has its own event loop."""

    def __init__(self) -> None:
        self.exchange = BinanceExchange(["BTC/USDT", "ETH/USDT"])
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._do(self.exchange.__aenter__())
        self.start_ms = time.time_ns() // HOUR_MS // 1_000_000 * HOUR_MS - MINUTES * MINUTE_MS
        self._do(self._trade())

    def close(self) -> None:
        self._do(self.exchange.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def asked(self) -> list[int]:
        """`startTime` of every request for minutes so far."""
        asked = [one for one in self.exchange.rest.asked if one.path.endswith("klines") and one.status == 200]
        return [int(one.query["startTime"]) for one in asked if one.query["interval"] == "1m"]

    def _do(self, work):  # type: ignore[no-untyped-def]  # any coroutine
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _trade(self) -> None:
        """One trade a minute, but none in the first of each hour: a flat candle at the exchange."""
        for n in range(MINUTES):
            for symbol in ("BTC/USDT", "ETH/USDT"):
                if n % 60 or not n:
                    at_ms = self.start_ms + n * MINUTE_MS + 10
                    await self.exchange.trade(symbol, f"{100 + n % 50}.5", f"0.{n % 9 + 1}", ts_ms=at_ms)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    found = Running()
    yield found
    found.close()


@pytest.fixture
def config(running: Running, tmp_path: Path) -> Path:
    path = tmp_path / "tocsin.yaml"
    binance = {"symbols": ["BTC/USDT"], "options": running.exchange.options()}
    path.write_text(yaml.safe_dump({"market_ingest": {"source": {"kind": "live", "exchanges": {"binance": binance}}}}))
    return path


def download(config: Path, folder: Path, *more: object, since: str, symbols: str = "BTC/USDT") -> Result:
    arguments = ["--exchange", "binance", "--symbols", symbols, "--since", since, "--config", config, "--out", folder]
    given = [str(argument) for argument in (*arguments, *more)]
    doubled = {name for name in given if name.startswith("--") and given.count(name) > 1}
    assert not doubled - {"--exchange"}
    return CliRunner().invoke(app, ["download", *given], catch_exceptions=False)


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def said(result: Result) -> str:
    return " ".join(result.output.split())


def rows(path: Path) -> list[tuple[object, ...]]:
    return pl.read_parquet(path).rows()


def truth(running: Running, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> list[tuple[object, ...]]:
    candles = running.exchange.ledger.candles(symbol, timeframe, to_ms)
    return [
        ("binance", symbol, timeframe, c.open_ms, *(float(x) for x in (c.open, c.high, c.low, c.close, c.volume)))
        for c in candles
        if from_ms <= c.open_ms < to_ms
    ]


def test_files_hold_what_the_exchange_has_and_can_be_replayed(running: Running, config: Path, tmp_path: Path) -> None:
    end_ms = running.start_ms + MINUTES * MINUTE_MS
    more = ("--timeframes", "1m,1h", "--until", moment(end_ms))
    result = download(config, tmp_path / "out", *more, since=moment(running.start_ms), symbols="BTC/USDT, ETH/USDT")
    assert result.exit_code == 0, result.output
    assert "1,200 candles (1,200 new)" in said(result)
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == [
        f"binance_{base}-USDT_{timeframe}.parquet" for base in ("BTC", "ETH") for timeframe in ("1h", "1m")
    ]
    for path in files:
        _, symbol, timeframe = path.stem.split("_")
        expected = truth(running, symbol.replace("-", "/"), timeframe, running.start_ms, end_ms)
        assert rows(path) == expected
        assert len(expected) == (1200 if timeframe == "1m" else 20)
    checked = check_files(files)
    assert (checked.candles, checked.trades, len(checked.instruments)) == (2440, 0, 2)


def test_a_second_run_asks_only_for_what_is_new(running: Running, config: Path, tmp_path: Path) -> None:
    middle_ms, end_ms = running.start_ms + 300 * MINUTE_MS, running.start_ms + 400 * MINUTE_MS
    download(config, tmp_path, "--until", moment(middle_ms), since=moment(running.start_ms))
    before = len(running.asked())
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    assert "400 candles (100 new)" in said(result)
    assert running.asked()[before:] == [middle_ms]
    assert rows(tmp_path / BTC) == truth(running, "BTC/USDT", "1m", running.start_ms, end_ms)
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    assert "400 candles (0 new)" in said(result)
    assert len(running.asked()) == before + 1


def test_an_earlier_beginning_is_put_before_what_is_there(running: Running, config: Path, tmp_path: Path) -> None:
    middle_ms, end_ms = running.start_ms + 300 * MINUTE_MS, running.start_ms + 400 * MINUTE_MS
    download(config, tmp_path, "--until", moment(end_ms), since=moment(middle_ms))
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    assert "400 candles (300 new)" in said(result)
    assert rows(tmp_path / BTC) == truth(running, "BTC/USDT", "1m", running.start_ms, end_ms)


def test_a_range_apart_from_the_file_is_refused(running: Running, config: Path, tmp_path: Path) -> None:
    until_ms = running.start_ms + 400 * MINUTE_MS
    download(config, tmp_path, "--until", moment(until_ms), since=moment(until_ms - 10 * MINUTE_MS))
    kept = (tmp_path / BTC).read_bytes()
    earlier = moment(running.start_ms + 100 * MINUTE_MS)
    result = download(config, tmp_path, "--until", earlier, since=moment(running.start_ms))
    assert result.exit_code == 2
    assert "holds another range of time" in said(result)
    later = moment(until_ms + MINUTE_MS)
    result = download(config, tmp_path, since=later)
    assert result.exit_code == 2
    assert "holds another range of time" in said(result)
    assert (tmp_path / BTC).read_bytes() == kept


def test_stopped_half_way_there_is_no_file_and_the_next_run_goes_on(
    running: Running, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market_ingest.history.paging.backoff_s", lambda _: 0.0)
    monkeypatch.setattr("market_ingest.history.paging.PAGE_ROWS", 100)
    end_ms = running.start_ms + 900 * MINUTE_MS
    refused = threading.Event()

    def refuse_soon() -> None:
        deadline = time.monotonic() + 20
        while len(running.asked()) < before + 3 and time.monotonic() < deadline:
            refused.wait(0.001)
        running.exchange.rest.down = True

    before = len(running.asked())
    watcher = threading.Thread(target=refuse_soon)
    watcher.start()
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    watcher.join()
    running.exchange.rest.down = False
    assert result.exit_code == 1
    assert "tocsin: unavailable" in said(result)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".yaml"] == ["binance_BTC-USDT_1m.part"]
    done, asked = set(running.asked()[before:]), len(running.asked())
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    assert "900 candles" in said(result)
    assert not done & set(running.asked()[asked:])
    assert rows(tmp_path / BTC) == truth(running, "BTC/USDT", "1m", running.start_ms, end_ms)
    assert not list(tmp_path.glob("*.part"))


def test_years_before_a_market_was_listed_are_not_asked_for(running: Running, config: Path, tmp_path: Path) -> None:
    before = len(running.asked())
    end_ms = running.start_ms + 60 * MINUTE_MS
    result = download(config, tmp_path, "--until", moment(end_ms), since="2017-01-01")
    assert result.exit_code == 0, result.output
    assert rows(tmp_path / BTC) == truth(running, "BTC/USDT", "1m", 0, end_ms)
    assert len(running.asked()) - before == 1


def test_a_busy_exchange_is_waited_for(running: Running, config: Path, tmp_path: Path) -> None:
    running.exchange.rest.refuse_next(status=418, retry_after_s=1)
    end_ms = running.start_ms + 60 * MINUTE_MS
    result = download(config, tmp_path, "--until", moment(end_ms), since=moment(running.start_ms))
    assert result.exit_code == 0, result.output
    assert "60 candles (60 new)" in said(result)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--exchange", "binanse"], r"'binanse' is no exchange that ccxt knows; near it: binance"),
        (["--timeframes", "7m"], "binance has no candles of '7m' that Tocsin reads; it has 1m, 5m, 15m, 1h, 4h, 1d"),
        (["--until", "2023-01-01"], "--until 2023-01-01 is not later than --since 2024-01-01"),
        (["--until", "soon"], "--until 'soon' is no day or moment"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_written(
    config: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    result = download(config, tmp_path / "out", *arguments, since="2024-01-01")
    assert result.exit_code == 2
    assert expected in said(result)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("symbols", "since", "expected"),
    [
        ("BTC/USDC", "2024-01-01", "binance has no BTC/USDC; near it: BTC/USDT"),
        ("BTC", "2024-01-01", "--symbols:"),
        (",", "2024-01-01", "at least one symbol"),
        ("BTC/USDT", "2999-01-01", "--since 2999-01-01 is in the future"),
        ("BTC/USDT", "yesterday", "--since 'yesterday' is no day or moment"),
    ],
)
def test_wrong_names_and_days_are_told(config: Path, tmp_path: Path, symbols: str, since: str, expected: str) -> None:
    result = download(config, tmp_path / "out", since=since, symbols=symbols)
    assert result.exit_code == 2
    assert expected in said(result)


def test_a_file_of_another_origin_is_not_overwritten(config: Path, tmp_path: Path) -> None:
    (tmp_path / BTC).write_bytes(b"mine")
    result = download(config, tmp_path, since="2024-01-01")
    assert result.exit_code == 2
    assert "is no file that `tocsin download` has written" in said(result)
    assert (tmp_path / BTC).read_bytes() == b"mine"
