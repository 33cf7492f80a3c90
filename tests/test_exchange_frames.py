"""The test exchanges are true to life: their frames have the shape of recorded ones, and recorded trades can happen
again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest
from tests.exchange import VENUES, BinanceExchange, Exchange, OkxExchange
from tests.exchange.client import until

SYMBOLS = ("BTC/USDT", "ETH/USDT")
BTC, ETH = SYMBOLS


def recorded(shared_data: Path, name: str, connection: str = "") -> list[dict[str, Any]]:
    raw = (shared_data / "frames" / "exchanges" / f"{name}.jsonl.zst").read_bytes()
    lines = pl.read_csv(raw, has_header=False, separator="\x01", quote_char=None, new_columns=["line"])["line"]
    frames = [json.loads(line) for line in lines]
    return [
        json.loads(frame["data"])
        for frame in frames
        if frame["t"] == "recv" and connection in frame["conn"] and frame["data"].startswith("{")
    ]


def shape(value: Any) -> Any:
    """The names and the types of a frame, without its values."""
    if isinstance(value, dict):
        return {name: shape(field) for name, field in sorted(value.items())}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


async def frames_of(exchange: Exchange, path: str, ask: object) -> list[dict[str, Any]]:
    """What a connection hears of a trade."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{exchange.url}{path}") as socket:
        if ask:
            await socket.send_json(ask)
        await until(lambda: exchange.connections and exchange.connections[0].topics)
        await exchange.trade(BTC, 100)
        frames = []
        with contextlib.suppress(TimeoutError):
            while True:
                frames.append(json.loads(await socket.receive_str(timeout=0.2)))
        return frames


@pytest.mark.parametrize("stream", ["bookTicker", "aggTrade", "kline_1m"])
async def test_binance_frames_have_the_shape_of_recorded_ones(shared_data: Path, stream: str) -> None:
    real = next(f for f in recorded(shared_data, "BINANCE") if f.get("stream", "").endswith(f"@{stream}"))
    async with BinanceExchange(SYMBOLS) as exchange:
        [frame] = await frames_of(exchange, f"/stream?streams=btcusdt@{stream}", None)
    assert shape(frame) == shape(real)


@pytest.mark.parametrize("topic", ["publicTrade", "tickers", "kline.1"])
async def test_bybit_frames_have_the_shape_of_recorded_ones(shared_data: Path, topic: str) -> None:
    asked = f"{topic}.BTCUSDT"
    real = next(f for f in recorded(shared_data, "BYBIT", ".3") if f.get("topic") == asked)
    async with VENUES["bybit"](SYMBOLS) as exchange:
        frames = await frames_of(exchange, "/v5/public/spot", {"op": "subscribe", "args": [asked]})
    assert shape(next(frame for frame in frames if "topic" in frame)) == shape(real)


@pytest.mark.parametrize("channel", ["trades", "tickers"])
async def test_okx_frames_have_the_shape_of_recorded_ones(shared_data: Path, channel: str) -> None:
    argument = {"channel": channel, "instId": "BTC-USDT"}
    real = next(f for f in recorded(shared_data, "OKX") if f.get("arg") == argument and "data" in f)
    async with OkxExchange(SYMBOLS) as exchange:
        frames = await frames_of(exchange, "/ws/v5/public", {"op": "subscribe", "args": [argument]})
    [frame] = [frame for frame in frames if "data" in frame]
    for field in ("count", "source", "seqId"):  # newer than the recording
        frame["data"][0].pop(field, None)
    assert shape(frame) == shape(real)


async def test_recorded_trades_happen_again(shared_data: Path) -> None:
    trades = pl.read_parquet(shared_data / "trades" / "binance_xrp_eth_2019-10.parquet").head(200)
    times_ms = trades["ts_ms"].to_list()
    speed = (times_ms[-1] - times_ms[0]) / 300
    async with BinanceExchange(["XRP/ETH"]) as exchange:
        assert await exchange.feed(trades.iter_rows(named=True), speed) == 200
        made = exchange.ledger.trades("XRP/ETH")
    assert [float(trade.price) for trade in made] == trades["price"].to_list()
    assert [float(trade.amount) for trade in made] == trades["amount"].to_list()
    assert 298 <= made[-1].ts_ms - made[0].ts_ms <= 302
