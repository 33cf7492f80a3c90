"""Quiet is not dead: which silence deserves a look; and which markets are watched."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from market_ingest.config import ExchangeSettings
from market_ingest.sources.live.freshness import Freshness
from market_ingest.sources.live.markets import quote_volumes, select
from market_ingest.sources.live.venues import venue_of


def test_a_busy_symbol_is_missed_after_seconds_and_a_slow_one_after_the_longest_patience() -> None:
    freshness = Freshness(60.0)
    for symbol in ("BUSY", "SLOW"):
        freshness.begin(symbol, 0.0)
    for at in range(1, 101):
        freshness.heard("BUSY", 10, float(at))
    freshness.heard("SLOW", 1, 100.0)
    assert freshness.overdue(104.9) == []
    assert freshness.overdue(105.1) == ["BUSY"]
    assert freshness.overdue(109.9) == []
    assert freshness.overdue(110.1) == ["BUSY"], "and again after twice the time"
    assert freshness.overdue(120.1) == ["BUSY"]
    assert freshness.overdue(159.9) == ["BUSY"]
    assert freshness.overdue(160.1) == ["SLOW"]


def test_looks_that_find_nothing_become_rare_until_something_is_heard() -> None:
    freshness = Freshness(10.0)
    freshness.begin("QUIET", 0.0)
    looks = [at for at in range(1, 400) if freshness.overdue(float(at))]
    assert looks == [10, 20, 40, 80, 160, 320]
    freshness.heard("QUIET", 1, 400.0)
    assert [at for at in range(401, 425) if freshness.overdue(float(at))] == [410, 420]


def test_what_is_let_go_is_not_missed() -> None:
    freshness = Freshness(1.0)
    freshness.begin("GONE", 0.0)
    freshness.end("GONE")
    assert freshness.overdue(10.0) == []


MARKETS: dict[str, Any] = {
    "BTC/USDT": {"active": True},
    "ETH/USDT": {},
    "OLD/USDT": {"active": False},
    "ETH/BTC": {"active": True},
    "BTC/USDT:USDT": {"active": True},
}


def test_named_symbols_come_first_and_patterns_bring_the_largest_that_trade() -> None:
    volumes = quote_volumes({"BTC/USDT": {"quoteVolume": 5.0}, "ETH/USDT": {"quoteVolume": 9.0}, "ETH/BTC": {}})
    settings = ExchangeSettings(symbols=["*/USDT", "ETH/BTC", "OLD/USDT"], top=1)
    assert select(settings, MARKETS, volumes) == ["ETH/BTC", "ETH/USDT"]
    assert select(ExchangeSettings(symbols=["*/USDT"]), MARKETS, volumes) == ["ETH/USDT", "BTC/USDT"]


def test_top_without_a_pattern_is_wrong_configuration() -> None:
    with pytest.raises(ValidationError, match="`top` chooses among the markets a pattern matches"):
        ExchangeSettings(symbols=["BTC/USDT"], top=3)


def test_an_exchange_that_is_not_declared_is_treated_carefully() -> None:
    assert venue_of("binance", {"spot": True}).ids == "contiguous"
    assert venue_of("nobody", {"spot": True}).ids == "opaque"
