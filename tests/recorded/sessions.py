"""The recorded sessions, each with what a ccxt client needs to hear it: addresses, REST answers, symbols, a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tests.recorded import decode
from tests.recorded.recording import payload, read, read_binance
from tests.recorded.server import Answer

NO_PRODUCTS = '{"products":[],"num_products":0}'

BULLET = (
    '{"code":"200000","data":{"token":"t","instanceServers":[{"endpoint":"ws://{server}/push-private.kucoin.com/endpoint",'
    '"encrypt":false,"protocol":"websocket","pingInterval":3000,"pingTimeout":10000}]}}'
)

COIN_M = (
    '{"timezone":"UTC","rateLimits":[],"symbols":[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","contractType":"PERPETUAL",'
    '"contractStatus":"TRADING","contractSize":100,"marginAsset":"BTC","baseAsset":"BTC","quoteAsset":"USD",'
    '"pricePrecision":1,"quantityPrecision":0,"filters":[]}]}'
)


@dataclass(frozen=True)
class Session:
    """`made_up` names the answers that were not recorded."""

    exchange: str
    symbols: Mapping[str, str]
    """Unified symbols by the exchange's own names."""
    frames: Mapping[str, list[str]]
    answers: list[Answer]
    decode: decode.Decoder
    options: Mapping[str, Any] = field(default_factory=dict)
    made_up: tuple[str, ...] = ()

    def trades(self) -> list[decode.Traded]:
        """What the frames say, by the independent decoder."""
        return [trade for frames in self.frames.values() for trade in decode.trades(frames, self.decode)]


Load = Callable[[Path], Session]


def spot(base: str, *days: int) -> Load:
    """Binance spot in August 2024. Two days follow each other over midnight without a missing id."""

    def load(frames: Path) -> Session:
        files = [frames / f"binance/spot_{base.lower()}usdt_202408{day:02}.gz" for day in days]
        sent = [payload(frame.text) for file in files for frame in read_binance(file)]
        exchange_info = read(frames / "exchanges/BINANCE.jsonl.zst").bodies[
            "https://api.binance.com/api/v3/exchangeInfo"
        ]
        return Session(
            "binance",
            {f"{base}USDT": f"{base}/USDT"},
            {"stream.binance.com:9443/ws": sent},
            [Answer("api.binance.com/api/v3/exchangeInfo", exchange_info)],
            decode.binance,
            {"options": {"fetchMarkets": {"types": ["spot"]}}},
        )

    return load


def usd_m(frames: Path) -> Session:
    """Binance USD-M, 2024-08-08."""
    recorded = read(frames / "exchanges/BINANCE_FUTURES.jsonl.zst").bodies
    sent = [payload(frame.text) for frame in read_binance(frames / "binance/usdm_btcusdt_20240808.gz")]
    return Session(
        "binanceusdm",
        {"BTCUSDT": "BTC/USDT:USDT"},
        {"fstream.binance.com/": sent},
        [Answer("fapi.binance.com/fapi/v1/exchangeInfo", recorded["https://fapi.binance.com/fapi/v1/exchangeInfo"])],
        decode.binance,
    )


def coin_m(frames: Path) -> Session:
    """Binance COIN-M, 2024-08-08. Its amounts are contracts."""
    sent = [payload(frame.text) for frame in read_binance(frames / "binance/coinm_btcusd_perp_20240808.gz")]
    return Session(
        "binancecoinm",
        {"BTCUSD_PERP": "BTC/USD:BTC"},
        {"dstream.binance.com/": sent},
        [Answer("dapi.binance.com/dapi/v1/exchangeInfo", COIN_M)],
        decode.binance,
        made_up=("exchangeInfo",),
    )


def binance_aggregated(frames: Path) -> Session:
    """Binance spot, 2021: `aggTrade`, among books, tickers and klines."""
    recording = read(frames / "exchanges/BINANCE.jsonl.zst")
    [sent] = recording.frames.values()
    return Session(
        "binance",
        {"NKNUSDT": "NKN/USDT", "BLZETH": "BLZ/ETH", "LRCBTC": "LRC/BTC", "RUNEEUR": "RUNE/EUR"},
        {"stream.binance.com:9443/ws": [payload(frame) for frame in sent]},
        [_answer(recording.bodies, "https://api.binance.com/api/v3/exchangeInfo")],
        decode.binance,
        {"options": {"fetchMarkets": {"types": ["spot"]}, "watchTradesForSymbols": {"name": "aggTrade"}}},
    )


def usd_m_aggregated(frames: Path) -> Session:
    """Binance USD-M, 2021: `aggTrade`, among books, tickers and klines."""
    recording = read(frames / "exchanges/BINANCE_FUTURES.jsonl.zst")
    [sent] = recording.frames.values()
    return Session(
        "binanceusdm",
        {f"{base}USDT": f"{base}/USDT:USDT" for base in ("SUSHI", "AKRO", "KEEP", "CTK")},
        {"fstream.binance.com/": [payload(frame) for frame in sent]},
        [_answer(recording.bodies, "https://fapi.binance.com/fapi/v1/exchangeInfo")],
        decode.binance,
        {"options": {"watchTradesForSymbols": {"name": "aggTrade"}}},
    )


def bybit(kind: str, bases: tuple[str, ...], suffix: str) -> Load:
    """Bybit v5, 2026, one of its two connections."""

    def load(frames: Path) -> Session:
        recording = read(frames / "exchanges/BYBIT.jsonl.zst")
        address = f"stream.bybit.com/v5/public/{kind}"
        [body] = [body for url, body in recording.bodies.items() if f"category={kind}" in url]
        return Session(
            "bybit",
            {f"{base}USDT": f"{base}/USDT{suffix}" for base in bases},
            {address: recording.frames[address]},
            [
                Answer("api.bybit.com/v5/market/instruments-info", _empty(kind), {"status": "PreLaunch"}),
                Answer("api.bybit.com/v5/market/instruments-info", body, {"category": kind}),
            ],
            decode.bybit,
            {"options": {"fetchMarkets": {"types": [kind]}}},
            made_up=("instruments before their launch",) if kind == "linear" else (),
        )

    return load


def coinbase(frames: Path) -> Session:
    """Coinbase Advanced, 2026."""
    recording = read(frames / "exchanges/COINBASE.jsonl.zst")
    products = "api.coinbase.com/api/v3/brokerage/market/products"
    return Session(
        "coinbase",
        {"BTC-USD": "BTC/USD", "ETH-USD": "ETH/USD"},
        recording.frames,
        [
            Answer(products, NO_PRODUCTS, {"product_type": "FUTURE"}),
            _answer(recording.bodies, f"https://{products}"),
        ],
        decode.coinbase,
        made_up=("futures",),
    )


def okx(frames: Path) -> Session:
    """OKX, 2022: spot, a perpetual swap and a dated future."""
    recording = read(frames / "exchanges/OKX.jsonl.zst")
    instruments = "https://www.okx.com/api/v5/public/instruments?instType="
    return Session(
        "okx",
        {"BTC-USDT": "BTC/USDT", "UNI-USD-SWAP": "UNI/USD:UNI", "BTC-USD-220527": "BTC/USD:BTC-220527"},
        recording.frames,
        [
            Answer("www.okx.com/api/v5/public/instruments", recording.bodies[instruments + kind], {"instType": kind})
            for kind in ("SPOT", "SWAP", "FUTURES")
        ],
        decode.okx,
        {"options": {"fetchMarkets": {"types": ["spot", "swap", "future"]}}},
    )


def kucoin(frames: Path) -> Session:
    """KuCoin, 2021. Without changes of order books: for those ccxt fetches the book, whoever asked for it."""
    recording = read(frames / "exchanges/KUCOIN.jsonl.zst")
    [(address, sent)] = recording.frames.items()
    return Session(
        "kucoin",
        {"DAPPT-BTC": "DAPPT/BTC", "FET-BTC": "FET/BTC", "BCHSV-USDT": "BSV/USDT"},
        {address: [frame for frame in sent if "trade.l2update" not in frame]},
        [
            Answer("api.kucoin.com/api/v2/symbols", recording.bodies["https://api.kucoin.com/api/v1/symbols"]),
            Answer("api.kucoin.com/api/v1/bullet-public", BULLET),
        ],
        decode.kucoin,
        {"options": {"fetchMarkets": {"types": ["spot"], "fetchTickersFees": False}}},
        made_up=("bullet-public", "symbols are those of /api/v1 where ccxt asks for /api/v2"),
    )


def kraken_v1(frames: Path) -> Session:
    """Kraken, 2021, in its former protocol, to a client that speaks the present one."""
    recording = read(frames / "exchanges/KRAKEN.jsonl.zst")
    pairs = msgspec.json.decode(recording.bodies["https://api.kraken.com/0/public/AssetPairs"])
    for pair in pairs["result"].values():
        pair["status"] = "online"
    return Session(
        "kraken",
        {"XMR/USD": "XMR/USD", "SC/EUR": "SC/EUR"},
        {f"{address}/v2": frames for address, frames in recording.frames.items()},
        [Answer("api.kraken.com/0/public/AssetPairs", msgspec.json.encode(pairs).decode())],
        decode.kraken_v1,
        made_up=("status of the pairs, which there was none of in 2021",),
    )


SESSIONS: dict[str, Load] = {
    "binance spot BTC": spot("BTC", 8),
    "binance spot ETH": spot("ETH", 8, 9),
    "binance spot aggregated": binance_aggregated,
    "binance USD-M": usd_m,
    "binance USD-M aggregated": usd_m_aggregated,
    "binance COIN-M": coin_m,
    "bybit spot": bybit("spot", ("BTC", "ETH"), ""),
    "bybit linear": bybit("linear", ("BTC", "ETH", "SOL", "DOGE"), ":USDT"),
    "coinbase": coinbase,
    "okx": okx,
    "kucoin": kucoin,
}
"""What today's ccxt understands. Kraken's recording is not among them."""


def _answer(bodies: Mapping[str, str], url: str) -> Answer:
    return Answer(url.partition("://")[2], bodies[url])


def _empty(category: str) -> str:
    return f'{{"retCode":0,"retMsg":"OK","result":{{"category":"{category}","list":[],"nextPageCursor":""}}}}'
