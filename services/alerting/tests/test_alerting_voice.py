"""Every language says everything, and nothing is said that is not in its texts."""

from __future__ import annotations

import ast
import inspect
import re
from decimal import Decimal
from string import Formatter
from types import ModuleType
from typing import Any, Literal, get_args

import pytest
from tests.alerts import a_signal

from alerting.matching.causes import Cause
from alerting.matching.indicators import Reached
from alerting.matching.moves import Move
from alerting.matching.paper import Drawdown, Opened
from alerting.matching.prices import Crossing
from alerting.matching.system import Trouble
from alerting.matching.volumes import Spike
from alerting.words import render, render_own
from alerting.words.render import of_cause
from alerting.words.voice import RECORD, Voice, texts
from tocsin_common.decoding import decode
from tocsin_common.documents import Subscriber
from tocsin_common.errors import Malformed
from tocsin_common.events import (
    AlertKind,
    DeadLetter,
    FeedChanged,
    FeedState,
    Language,
    OrderFilled,
    OutcomeMeasured,
    Pace,
    PortfolioOpened,
    RoundsChanged,
    Severity,
    Side,
    StrategyQuarantined,
)

LANGUAGES = get_args(Language)
NOON_MS = 1_723_118_400_000

KEY = re.compile(r"[a-z]+\.[a-z_]*")
WORD = re.compile(r"[A-Za-z]{2,}")


def placeholders(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text)} - {None}


def ended(result: str) -> OutcomeMeasured:
    signal = a_signal(NOON_MS)
    same = ("signal_id", "strategy", "exchange", "symbol", "timeframe", "side", "confirmed_ms")
    about = {name: getattr(signal, name) for name in same}
    figures = {"exit_price": 110.0, "r_multiple": 1.0, "mfe_r": 1.0, "mae_r": -0.5}
    return OutcomeMeasured(**about, **figures, result=result, ended_ms=NOON_MS + 720_000, targets_hit=1, basis="trades")


def changed(state: FeedState) -> FeedChanged:
    return FeedChanged(
        exchange="okx", symbol="BTC/USDT", state=state, ts_ms=NOON_MS, from_ms=NOON_MS, to_ms=NOON_MS, trades=7
    )


def filled(side: Literal["buy", "sell"], left: str) -> OrderFilled:
    worth = {"price": Decimal(2), "market_price": Decimal(2), "fee": Decimal(1), "cash_after": Decimal(7)}
    position = {"position_amount": Decimal(left), "position_entry_price": Decimal(2), "realised_pnl": Decimal(3)}
    about = {"portfolio": "main", "position_id": "p", "signal_id": "s", "exchange": "okx", "symbol": "BTC/USDT"}
    basis: dict[str, Any] = {"n": 2, "ts_ms": NOON_MS, "reason": "stop", "basis": "trade", "basis_ref": "1"}
    return OrderFilled(**about, **worth, **position, **basis, side=side, amount=Decimal("0.5"))


def troubles() -> list[StrategyQuarantined | RoundsChanged | DeadLetter]:
    rounds = {"at_ms": NOON_MS, "candles_seq": 1, "waited_ms": 2_000, "took_ms": 3_000, "symbols": 4, "candles": 5}
    paces: list[Pace] = ["slow", "recovered"]
    letter = {"service": "s", "stream": "SIGNALS", "original_subject": "signals.x", "reason": "bug", "error": "e"}
    return [
        StrategyQuarantined(
            strategy="a", strategy_version="1", params_hash="p", reason="raised", error="", at_ms=NOON_MS
        ),
        *(RoundsChanged(pace=pace, **rounds, longest="read", longest_ms=1_000) for pace in paces),  # type: ignore[arg-type]
        DeadLetter(**letter, seq=7, payload=b""),  # type: ignore[arg-type]
    ]


CAUSES: list[Cause] = [
    *(a_signal(NOON_MS, side=side, stop=stop, reasons=[]) for side, stop in (("long", 90.0), ("short", 110.0))),
    *(ended(result) for result in ("target_1", "stop", "expired", "invalidated", "unheard_of")),
    *(changed(state) for state in get_args(FeedState)),
    *(Crossing("okx", "BTC/USDT", 100.0, way, 99.0, 101.0, NOON_MS, "1") for way in ("above", "below")),
    *(Move("okx", "BTC/USDT", 5.0, 900, side, 100.0, 105.0, NOON_MS, "1") for side in ("up", "down")),
    *(
        Reached("okx", "BTC/USDT", "1h", "close", operator, right, 64_100.0, 64_000.5, 64_100.0, NOON_MS)
        for operator, right in (
            ("below", 70_000.0),
            ("above", "ema_200"),
            ("crosses_below", 1.0),
            ("crosses_above", 2.0),
        )
    ),
    Opened(PortfolioOpened(portfolio="main", n=1, ts_ms=NOON_MS, currency="USDT", cash=Decimal(10_000))),
    filled("buy", "0.5"),
    filled("sell", "0"),
    Drawdown("main", 3, 10.0, Decimal(10_000), Decimal(8_900), NOON_MS),
    *(Trouble.of(event, NOON_MS) for event in troubles()),
    Spike("okx", "BTC/USDT", "5m", 20, 100.0, 420.0, 64_000.0, NOON_MS),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_and_placeholders(language: Language) -> None:
    ours, english = texts(language), texts("en")
    assert ours.keys() == english.keys()
    assert {key: placeholders(text) for key, text in ours.items()} == {
        key: placeholders(text) for key, text in english.items()
    }
    assert all(text.strip() == text != "" for text in ours.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_is_a_name_for_whatever_may_be_named(language: Language) -> None:
    named = {"side": Side, "severity": Severity, "feed": FeedState, "kind": AlertKind}
    missing = [
        f"{section}.{value}"
        for section, kind in named.items()
        for value in get_args(kind)
        if f"{section}.{value}" not in texts(language)
    ]
    assert not missing


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_an_alert_has_the_same_figures_under_other_names_in_every_language(cause: Cause) -> None:
    said = [of_cause(cause, "my rule", Voice(language)) for language in LANGUAGES]
    assert len({content.title for content in said}) == len({len(content.fields) for content in said}) * len(LANGUAGES)
    for one in said[1:]:
        for (name, value), (english_name, english) in zip(one.fields.items(), said[0].fields.items(), strict=True):
            assert re.findall(r"[\d.,]+", value) == re.findall(r"[\d.,]+", english)
            assert name != english_name or name in ("Target 1", "Target 2", "Volume", "EMA 200")


@pytest.mark.parametrize("module", [render, render_own])
def test_no_word_of_a_language_stands_in_the_program(module: ModuleType) -> None:
    found = [text for text in spoken(ast.parse(inspect.getsource(module))) if WORD.search(KEY.sub("", text))]
    assert not found


def spoken(tree: ast.Module) -> list[str]:
    """The text constants of a module that are not documentation, names of fields or parts of formats."""
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            silent.add(node.value)
        if isinstance(node, ast.Compare | ast.Set | ast.IfExp):
            silent |= set(ast.walk(node))
        if isinstance(node, ast.FormattedValue) and node.format_spec:
            silent |= set(ast.walk(node.format_spec))
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in silent)
    return [node.value for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC", "2024-08-08 12:00 UTC"),
        ("Asia/Jakarta", "2024-08-08 19:00 WIB"),
        ("Europe/Berlin", "2024-08-08 14:00 CEST"),
        ("Asia/Kathmandu", "2024-08-08 17:45 +0545"),
    ],
)
def test_moments_are_by_the_clock_on_the_wall(zone: str, said: str) -> None:
    assert Voice("en", zone).moment(NOON_MS) == said


def test_spans_of_time_are_said_in_words() -> None:
    assert [RECORD.duration(seconds) for seconds in (61, 720, 12_600)] == ["61 s", "12 min", "3.5 h"]
    assert [Voice("id").duration(seconds) for seconds in (61, 720, 12_600)] == ["61 detik", "12 menit", "3.5 jam"]


@pytest.mark.parametrize("given", [{"zone": "Mars/Olympus"}, {"zone": "../etc/passwd"}, {"language": "tlh"}])
def test_a_subscriber_has_a_known_language_and_zone(given: dict[str, Any]) -> None:
    value = {"subscriber_id": "a", "name": "a", "destinations": []} | given
    with pytest.raises(Malformed):
        decode(repr(value).replace("'", '"').encode(), Subscriber)
