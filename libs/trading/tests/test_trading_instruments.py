"""Symbols: what ccxt calls markets, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tocsin_trading.instruments import Symbol, parse_symbol


@pytest.mark.parametrize(
    ("text", "symbol", "kind"),
    [
        ("BTC/USDT", Symbol("BTC", "USDT"), "spot"),
        ("BTC/USDT:USDT", Symbol("BTC", "USDT", "USDT"), "linear"),
        ("BTC/USD:BTC", Symbol("BTC", "USD", "BTC"), "inverse"),
        ("BTC/USD:BTC-240927", Symbol("BTC", "USD", "BTC", "240927"), "inverse"),
        ("ETH/USD:XBT", Symbol("ETH", "USD", "XBT"), "quanto"),
        ("1000SHIB/USDT:USDT", Symbol("1000SHIB", "USDT", "USDT"), "linear"),
        ("币安人生/USDT", Symbol("币安人生", "USDT"), "spot"),
    ],
)
def test_reads_a_symbol(text: str, symbol: Symbol, kind: str) -> None:
    assert parse_symbol(text) == symbol
    assert parse_symbol(text).kind == kind
    assert parse_symbol(text).pays_in_quote == (kind in ("spot", "linear"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BTCUSDT",
        "/USDT",
        "BTC/",
        "BTC/USDT:",
        "BTC/USDT/EUR",
        "BTC /USDT",
        "BTC/USDT\n",
        "BTC/BTC",
        "BTC/USDT:USDT-241301",
        "BTC/USDT:USDT-24092",
        "BTC/USDT:USDT-240927-50000-C",
        "B" * 100 + "/USDT",
    ],
)
def test_refuses_what_is_no_symbol_and_says_so(text: str) -> None:
    with pytest.raises(ValueError):
        parse_symbol(text)


def test_reads_every_symbol_a_real_exchange_lists(shared_data: Path) -> None:
    with gzip.open(shared_data / "markets" / "binance_ccxt_load_markets.json.gz") as file:
        markets = json.load(file)
    assert len(markets) > 1000
    for text, market in markets.items():
        symbol = parse_symbol(text)
        assert (symbol.base, symbol.quote) == (market["base"], market["quote"])
