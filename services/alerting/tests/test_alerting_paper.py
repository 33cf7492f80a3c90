"""Rules on paper portfolios and on the system itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from alerting.matching.paper import Drawdown
from alerting.matching.prices import always, never
from alerting.matching.rules import Rules
from alerting.matching.system import Trouble, of_a_letter
from alerting.matching.watch import Memory, Watch
from alerting.words.render_own import of_drawdown, of_fill, of_opened, of_trouble
from alerting.words.voice import RECORD
from tocsin_common.documents import AlertRule, PaperRule, SystemRule
from tocsin_common.events import (
    DeadLetter,
    EquityMarked,
    OrderFilled,
    PortfolioOpened,
    RoundsChanged,
    SignalSkipped,
    StrategyQuarantined,
)

OPENED = PortfolioOpened(portfolio="main", n=1, ts_ms=0, currency="USDT", cash=Decimal(10_000))
ENTRY = OrderFilled(
    portfolio="main",
    n=2,
    ts_ms=1,
    position_id="p1",
    signal_id="s1",
    exchange="binance",
    symbol="BTC/USDT",
    side="buy",
    reason="entry",
    amount=Decimal("0.5"),
    price=Decimal(2_000),
    market_price=Decimal(1_999),
    fee=Decimal(1),
    basis="trade",
    basis_ref="1",
    position_amount=Decimal("0.5"),
    position_entry_price=Decimal(2_000),
    realised_pnl=Decimal(0),
    cash_after=Decimal(8_999),
)
EXIT = msgspec.structs.replace(
    ENTRY,
    n=3,
    side="sell",
    reason="target_2",
    price=Decimal(2_250),
    position_amount=Decimal("0.00"),
    realised_pnl=Decimal("125.5"),
    cash_after=Decimal("10123.5"),
)
SKIPPED = SignalSkipped(portfolio="main", n=4, ts_ms=2, signal_id="s2", reason="position_open")


def marked(n: int, equity: float, portfolio: str = "main") -> EquityMarked:
    worth = Decimal(str(equity))
    return EquityMarked(portfolio=portfolio, n=n, ts_ms=n, cash=worth, holdings=[], equity=worth)


def watch(*rules: AlertRule) -> Watch:
    book = Rules()
    for rule in rules:
        book.put(rule, revision=1)
    return Watch(book)


def paper(**given: Any) -> PaperRule:
    return PaperRule(rule_id="p", name="p", subscribers=[], **given)


def falls(watching: Watch, *worth: float, portfolio: str = "main") -> list[float]:
    """The equities at which it rang."""
    events = [marked(n, equity, portfolio) for n, equity in enumerate(worth)]
    return [float(cause.equity) for e in events for _, cause in watching.find(e, always) if isinstance(cause, Drawdown)]


@pytest.mark.parametrize(
    ("conditions", "rung"),
    [
        ({}, [OPENED, ENTRY, EXIT]),
        ({"events": ["position_closed"]}, [EXIT]),
        ({"events": ["position_opened"], "symbols": ["BTC/USDT"]}, [ENTRY]),
        ({"symbols": ["ETH/USDT"]}, []),
        ({"portfolios": ["other"]}, []),
        ({"events": ["portfolio_opened"]}, [OPENED]),
    ],
)
def test_a_paper_rule_wants_some_events_of_some_portfolios(conditions: dict[str, Any], rung: list[object]) -> None:
    watching = watch(paper(**conditions))
    found = [cause for event in (OPENED, ENTRY, EXIT, SKIPPED) for _, cause in watching.find(event, always)]
    assert [getattr(cause, "event", cause) for cause in found] == rung


def test_a_drawdown_rings_once_until_half_of_it_is_made_up_for() -> None:
    assert falls(watch(paper(drawdown_percent=10)), 1000, 905, 900, 880, 940, 890, 951, 900, 1100, 990) == [
        900,
        900,
        990,
    ]


def test_portfolios_fall_each_by_themselves() -> None:
    watching = watch(paper())
    assert falls(watching, 1000, 900) == [900]
    assert falls(watching, 500, 460, 450, portfolio="other") == [450]


def test_the_peak_and_what_rang_outlive_restarts() -> None:
    first = watch(paper())
    assert falls(first, 1000, 900) == [900]
    first.settle()
    second = watch(paper())
    second.restore(msgspec.json.decode(msgspec.json.encode(first.memory()), type=Memory))
    assert falls(second, 890, 960, 900) == [900]


def test_a_drawdown_that_only_teaches_rings_as_soon_as_it_counts() -> None:
    watching = watch(paper())
    assert [found for worth in (1000, 900) for found in watching.find(marked(worth, worth), never)] == []
    assert falls(watching, 899) == [899]


def test_a_portfolio_made_anew_has_a_peak_of_its_own() -> None:
    watching = watch(paper(events=["drawdown"]))
    assert falls(watching, 50_000) == []
    assert list(watching.find(OPENED, always)) == []
    assert falls(watching, 9_900) == []


def test_fills_and_falls_read_as_a_person_would_say_it() -> None:
    assert of_fill(ENTRY, "r", RECORD).title == "Portfolio main bought 0.5 BTC/USDT at 2,000"
    closed = of_fill(EXIT, "r", RECORD)
    assert (closed.title, closed.text) == ("Portfolio main sold 0.5 BTC/USDT at 2,250, +125.50", "Target 2.")
    fallen = Drawdown("main", 5, 10.0, Decimal(10_000), Decimal("8766"), 0)
    assert of_drawdown(fallen, "r", RECORD).title == "Portfolio main is 12.3 % below its peak"
    [(_, opened)] = watch(paper()).find(OPENED, always)
    assert of_opened(opened, "r", RECORD).title == "Portfolio main starts with 10,000.00 USDT"  # type: ignore[arg-type]


QUARANTINE = StrategyQuarantined(
    strategy="ema_cross", strategy_version="1", params_hash="p", reason="too_slow", error="still in judge", at_ms=7
)
SLOW = RoundsChanged(
    pace="slow",
    at_ms=8,
    candles_seq=1,
    waited_ms=1_000,
    took_ms=2_000,
    symbols=5,
    candles=15,
    longest="read",
    longest_ms=9,
)
LETTER = DeadLetter(
    service="paper-trader",
    stream="SIGNALS",
    seq=4,
    original_subject="signals.x",
    reason="malformed",
    error="secret things",
    payload=b"secret things",
)


def troubles(**conditions: Any) -> list[str]:
    rules = Rules()
    rules.put(SystemRule(rule_id="s", name="s", subscribers=[], **conditions))
    found = [Trouble.of(event, 99) for event in (QUARANTINE, SLOW, LETTER)]
    return [one.what for one in found if rules.for_system(one.what, one.service, one.reason)]


def test_a_system_rule_wants_some_troubles() -> None:
    assert troubles() == ["quarantine", "rounds", "dead_letter"]
    assert troubles(services=["signal-engine"]) == ["quarantine", "rounds"]
    assert troubles(events=["dead_letter"], reasons=["malformed"]) == ["dead_letter"]
    assert troubles(reasons=["slow"]) == ["rounds"]


def test_what_has_no_market_time_has_the_time_it_was_stored() -> None:
    unmarked = msgspec.structs.replace(QUARANTINE, at_ms=0)
    assert [Trouble.of(event, 99).ts_ms for event in (QUARANTINE, SLOW, LETTER, unmarked)] == [7, 8, 99, 99]


def test_a_dead_letter_of_a_dead_letter_is_nobodys_concern() -> None:
    assert not of_a_letter(LETTER)
    assert of_a_letter(msgspec.structs.replace(LETTER, stream="DEAD"))


def test_troubles_read_as_a_person_would_say_it_and_show_nothing_of_a_message() -> None:
    said = [of_trouble(Trouble.of(event, 99), "r", RECORD) for event in (QUARANTINE, SLOW, LETTER)]
    assert [content.title for content in said] == [
        "Strategy ema_cross is off: too slow",
        "Rounds are slow",
        "paper-trader gave up a message: malformed",
    ]
    assert "secret" not in str(said)
