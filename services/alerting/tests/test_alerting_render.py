"""What outcomes and changes of feeds read like."""

from __future__ import annotations

import msgspec
import pytest

from alerting.words.render import of_feed, of_outcome
from alerting.words.voice import RECORD
from tocsin_common.events import FeedChanged, OutcomeMeasured

OUTCOME = OutcomeMeasured(
    signal_id="s",
    strategy="ema_cross",
    exchange="binance",
    symbol="BTC/USDT",
    timeframe="1h",
    side="long",
    result="target_2",
    confirmed_ms=1_723_165_200_000,
    ended_ms=1_723_179_600_000,
    exit_price=66_370.5,
    r_multiple=2.0,
    mfe_r=2.1,
    mae_r=-0.4,
    targets_hit=2,
    basis="trades",
)
GAP = FeedChanged(
    exchange="binance",
    symbol="BTC/USDT",
    state="gap_unfilled",
    ts_ms=1_723_165_200_000,
    from_ms=1_723_161_600_000,
    to_ms=1_723_161_660_000,
    reason="out_of_order",
)


@pytest.mark.parametrize(
    ("result", "r_multiple", "said"),
    [
        ("target_2", 2.0, "reached target 2, +2.0 R"),
        ("stop", -1.0, "was stopped, -1.0 R"),
        ("expired", 0.25, "expired, +0.2 R"),
        ("invalidated", 0.0, "invalidated, +0.0 R"),
        ("what_nobody_knows_yet", 0.0, "ended, +0.0 R"),
    ],
)
def test_an_outcome_says_how_it_ended_and_what_it_was_worth(result: str, r_multiple: float, said: str) -> None:
    content = of_outcome(msgspec.structs.replace(OUTCOME, result=result, r_multiple=r_multiple), "my rule", RECORD)
    assert content.title == f"Long BTC/USDT, 1h: EMA cross {said}"


def test_an_outcome_has_its_figures() -> None:
    content = of_outcome(OUTCOME, "my rule", RECORD)
    assert content.text == "It took 4.0 h."
    assert content.fields == {
        "Exit": "66,370.5",
        "Result": "+2.00 R",
        "Best": "+2.10 R",
        "Worst": "-0.40 R",
        "Exchange": "binance",
        "Signal of": "2024-08-09 01:00 UTC",
        "Ended at": "2024-08-09 05:00 UTC",
        "Rule": "my rule",
    }


def test_a_change_of_a_feed_says_what_and_when() -> None:
    content = of_feed(GAP, "my rule", RECORD)
    assert content.title == "binance BTC/USDT: gap unfilled"
    assert content.text == "Out of order."
    assert content.fields == {
        "Exchange": "binance",
        "Symbol": "BTC/USDT",
        "From": "2024-08-09 00:00 UTC",
        "To": "2024-08-09 00:01 UTC",
        "Seen at": "2024-08-09 01:00 UTC",
        "Rule": "my rule",
    }


def test_a_change_of_a_whole_connection_names_the_exchange_alone() -> None:
    lost = FeedChanged(exchange="okx", symbol=None, state="disconnected", ts_ms=0)
    content = of_feed(lost, "my rule", RECORD)
    assert (content.title, content.text) == ("okx: disconnected", "")
    assert "Symbol" not in content.fields
