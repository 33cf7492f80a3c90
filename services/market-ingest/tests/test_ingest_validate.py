"""What is let in, what is said about the rest, and configuration that cannot work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from market_ingest.columns import Instrument
from market_ingest.config import Settings
from market_ingest.validate import (
    AHEAD_MS,
    BITCOIN_GENESIS_MS,
    BURST_S,
    REASONS,
    BurstLog,
    check_instrument,
    check_trades,
)
from tocsin_common.config import load
from tocsin_common.errors import ConfigError

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("ts_ms", "price", "amount", "reason"),
    [
        (NOW_MS, 1.0, 1.0, "accepted"),
        (NOW_MS, float("nan"), 1.0, "bad_price"),
        (NOW_MS, float("inf"), 1.0, "bad_price"),
        (NOW_MS, 0.0, 1.0, "bad_price"),
        (NOW_MS, -1.0, 1.0, "bad_price"),
        (NOW_MS, 1.0, 0.0, "bad_amount"),
        (NOW_MS, 1.0, float("nan"), "bad_amount"),
        (BITCOIN_GENESIS_MS, 1.0, 1.0, "accepted"),
        (BITCOIN_GENESIS_MS - 1, 1.0, 1.0, "bad_time"),
        (NOW_MS + AHEAD_MS, 1.0, 1.0, "accepted"),
        (NOW_MS + AHEAD_MS + 1, 1.0, 1.0, "bad_time"),
    ],
)
def test_a_trade_is_accepted_or_has_a_reason(ts_ms: int, price: float, amount: float, reason: str) -> None:
    (code,) = check_trades(np.array([ts_ms]), np.array([price]), np.array([amount]), NOW_MS)
    assert REASONS[code] == reason


def test_names_that_are_no_instrument_are_told_apart() -> None:
    assert check_instrument(Instrument("binance", "BTC/USDT:USDT")) is None
    assert check_instrument(Instrument("binance", "BTCUSDT")) is not None
    assert check_instrument(Instrument("bin ance", "BTC/USDT")) is not None


def test_a_burst_of_rejections_is_one_line() -> None:
    now_s = [0.0]
    burst = BurstLog(lambda: now_s[0])
    with capture_logs() as lines:
        for second in range(100):
            now_s[0] = second * BURST_S / 100
            burst.rejected("bad_price", 3, source="live")
        burst.rejected("bad_time", 1, source="live")
        now_s[0] = 2 * BURST_S
        burst.rejected("bad_price", 5, source="live")
    assert [(line["reason"], line["rows"]) for line in lines] == [("bad_price", 3), ("bad_time", 1), ("bad_price", 302)]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"kind": "simulator", "symbols": ["BTCUSDT"]}, "'BTCUSDT' is not BASE/QUOTE"),
        ({"kind": "simulator", "symbols": ["BTC/USDT", "BTC/USDT"]}, "listed twice"),
        ({"kind": "simulator", "speed": -1}, "greater than or equal to 0"),
        ({"kind": "replay", "files": []}, "at least 1 item"),
        ({"kind": "live", "exchanges": {}}, "at least 1 item"),
        ({"kind": "tape"}, "'simulator', 'replay', 'live'"),
    ],
)
def test_a_source_that_cannot_work_is_named_with_its_key(source: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Settings, environ={"TOCSIN__MARKET_INGEST__SOURCE": str(source)})
    assert "market_ingest.source" in str(caught.value)
    assert complaint in str(caught.value)
