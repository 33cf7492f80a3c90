"""Why does my rule not ring? For rules of every kind: what it wants, what was seen last, and what bars it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.alerts import a_signal
from tests.managed import ANN, BOB, NOW_MS, OPERATOR, Managed

from alerting.matching.indicators import Reading
from alerting.matching.moves import Piece, Window
from alerting.matching.watch import Memory
from alerting.snapshots import Snapshot, Snapshots
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import (
    AlertRule,
    FeedRule,
    Hours,
    IndicatorRule,
    MoveRule,
    OutcomeRule,
    PaperRule,
    PriceRule,
    SignalRule,
    Silence,
    Subscriber,
    SystemRule,
    VolumeRule,
    encode,
)
from tocsin_common.errors import Rejected
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    DeadLetter,
    EquityMarked,
    Event,
    FeedChanged,
    IndicatorsOffered,
    OrderFilled,
    OutcomeMeasured,
    StrategyQuarantined,
)
from tocsin_common.requests.management import Actor, WhyReply, WhyRequest
from tocsin_common.streams import (
    ALERT_RULES,
    ALERTING_CANDLES,
    ALERTING_INDICATORS,
    ALERTING_PAPER,
    ALERTING_TRADES,
    SIGNALS,
    SILENCES,
    SUBSCRIBERS,
    Durable,
)

NOTHING = Memory(prices=[], spent=[], windows=[], volumes=[], readings=[], reached=[], peaks=[], fallen=[])
PLACE = {"exchange": "binance", "symbol": "BTC/USDT"}
COMMON: dict[str, Any] = {"rule_id": "mine", "name": "Mine", "subscribers": ["ann"]}
PRICE = PriceRule(**COMMON, **PLACE, level=65_000.0, direction="above", rearm_percent=1.0)
MOVE = MoveRule(**COMMON, **PLACE, percent=5.0, window_s=900, direction="up")
VOLUME = VolumeRule(**COMMON, **PLACE, timeframe="5m", factor=3.0, candles=2)
RSI = IndicatorRule(**COMMON, left="rsi_14", operator="below", right=30.0, rearm_percent=5.0)
CROSS = IndicatorRule(**COMMON, left="close", operator="crosses_above", right="ema_200")
FALLS = PaperRule(**COMMON, events=["drawdown"], drawdown_percent=10.0)
SERIES = ("binance", "BTC/USDT", "1h")
SEEN = {"prices": [("binance", "BTC/USDT", 64_000.0, 1_000)]}
READ = [(*SERIES, Reading(0, 64_000.0, {"rsi_14": 41.5, "ema_200": 65_500.0}))]
FLAT = (0, (10.0, 10.0, 15.0))


def equity(amount: str) -> EquityMarked:
    return EquityMarked(portfolio="main", n=2, ts_ms=1, cash=Decimal(amount), holdings=[], equity=Decimal(amount))


def fill(symbol: str) -> OrderFilled:
    worth = {name: Decimal(1) for name in ("amount", "price", "market_price", "fee", "position_amount")}
    worth |= {name: Decimal(1) for name in ("position_entry_price", "realised_pnl", "cash_after")}
    about = {"portfolio": "main", "position_id": "p", "signal_id": "s", "exchange": "okx", "symbol": symbol}
    basis: dict[str, Any] = {"n": 3, "ts_ms": 1, "reason": "entry", "basis": "trade", "basis_ref": "1", "side": "buy"}
    return OrderFilled(**about, **worth, **basis)


def ended(result: str) -> OutcomeMeasured:
    signal = a_signal()
    same = ("signal_id", "strategy", "exchange", "symbol", "timeframe", "side", "confirmed_ms")
    figures = {"exit_price": 1.0, "r_multiple": 1.0, "mfe_r": 1.0, "mae_r": 0.0, "ended_ms": 1, "targets_hit": 0}
    return OutcomeMeasured(**{name: getattr(signal, name) for name in same}, **figures, result=result, basis="trades")


STALE = FeedChanged(exchange="okx", symbol=None, state="stale", ts_ms=1)
OFF = StrategyQuarantined(strategy="s", strategy_version="1", params_hash="p", reason="raised", error="", at_ms=1)
LETTER = DeadLetter(
    service="s", stream="SIGNALS", seq=1, original_subject="signals.x", reason="malformed", error="e", payload=b""
)
OFFER = IndicatorsOffered(columns=["ema_200"], timeframes=["1h"], at_ms=1)

Case = tuple[AlertRule, dict[Durable, dict[str, Any]], list[Event], str]
CASES: list[Case] = [
    (PRICE, {}, [], "nothing that it looks at has been seen yet"),
    (
        PRICE,
        {ALERTING_TRADES: SEEN, ALERTING_CANDLES: {"prices": [("binance", "BTC/USDT", 9.0, 5)]}},
        [],
        "BTC/USDT is at 64,000, it wants a rise above 65,000 (last seen 1970-01-01 00:00:01 UTC)",
    ),
    (
        PRICE,
        {ALERTING_TRADES: {"prices": [("binance", "BTC/USDT", 65_130.0, 1_000)], "spent": [("mine", 1, "")]}},
        [],
        "it rang, and is not armed again: BTC/USDT at 65,130 is 0.20 % away from 65,000, it wants 1 %",
    ),
    (
        MOVE,
        {ALERTING_TRADES: SEEN | {"windows": [(*PLACE.values(), 900, Window((Piece(1, 1.0, 1.0),), 1.02, 1.0))]}},
        [],
        "BTC/USDT is 2.00 % above its low of 15 min, it wants 5 %",
    ),
    (
        MOVE,
        {
            ALERTING_TRADES: {
                "windows": [(*PLACE.values(), 900, Window((Piece(1, 1.0, 1.0),), 1.06, 1.0))],
                "spent": [("mine", 1, "up")],
            }
        },
        [],
        "it rang, and is not armed again: BTC/USDT is 6.00 % away within 15 min, it wants less than 2.5 % first",
    ),
    (
        VOLUME,
        {ALERTING_CANDLES: {"volumes": [(*PLACE.values(), "5m", *FLAT)]}},
        [],
        "the last candle of BTC/USDT had 15, 1.50 times the usual 10, it wants 3 times",
    ),
    (
        VOLUME,
        {ALERTING_CANDLES: {"volumes": [(*PLACE.values(), "5m", 0, (10.0, 10.0))]}},
        [],
        "2 candles of BTC/USDT have been seen, it wants 2 before the one it judges",
    ),
    (RSI, {ALERTING_INDICATORS: {"readings": READ}}, [], "BTC/USDT, 1h: rsi_14 is 41.5, it wants below 30"),
    (
        RSI,
        {ALERTING_INDICATORS: {"readings": READ, "reached": [("mine", 1, *SERIES)]}},
        [],
        (
            "it rang on BTC/USDT, 1h, and is not armed again: rsi_14 is 41.5, "
            "it wants to see it back on the other side of 30, 5 % away"
        ),
    ),
    (
        CROSS,
        {ALERTING_INDICATORS: {"readings": READ}},
        [],
        "BTC/USDT, 1h: close is 64,000, it wants to see it go above ema_200 (65,500), from below",
    ),
    (
        RSI,
        {},
        [OFFER],
        (
            "nobody publishes what it looks at; add rsi_14 to signal_engine.indicators; "
            "nothing that it looks at has been seen yet"
        ),
    ),
    (
        FALLS,
        {ALERTING_PAPER: {"peaks": [("main", Decimal(10_000))]}},
        [equity("9300")],
        "the portfolio main is 7.00 % below its peak, it wants 10 %",
    ),
    (
        FALLS,
        {ALERTING_PAPER: {"peaks": [("main", Decimal(10_000))], "fallen": [("mine", 1, "main")]}},
        [equity("9300")],
        "it rang, and is not armed again: the portfolio main is 7.00 % below its peak, it wants less than 5 % first",
    ),
    (
        PaperRule(**COMMON, events=["position_closed"]),
        {},
        [fill("BTC/USDT")],
        "the event is position_opened, it wants position_closed",
    ),
    (SystemRule(**COMMON, reasons=["bug"]), {}, [LETTER], "the reason is malformed, it wants bug"),
    (SystemRule(**COMMON, events=["quarantine"], reasons=["bug"]), {}, [OFF, LETTER], "the reason is raised"),
    (SignalRule(**COMMON, sides=["short"]), {}, [a_signal()], "the side is long, it wants short"),
    (SignalRule(**COMMON, symbols=["ETH/USDT"]), {}, [a_signal()], "the symbol is BTC/USDT, it wants ETH/USDT"),
    (OutcomeRule(**COMMON, results=["stop"]), {}, [ended("target_1")], "the result is target, it wants stop"),
    (FeedRule(**COMMON, states=["gap_found"]), {}, [STALE], "the state is stale, it wants gap_found"),
    (
        PriceRule(**COMMON, **PLACE, level=1.0, enabled=False, expires_ms=5_000),
        {},
        [],
        "it is switched off; it is over, since 1970-01-01 00:00:05 UTC; nothing",
    ),
]


async def asked(
    bus: MemoryBus, rule: AlertRule, memories: dict[Durable, dict[str, Any]], events: list[Event], actor: Actor = ANN
) -> WhyReply:
    await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
    for durable, known in memories.items():
        memory = replace(NOTHING, **known)
        snapshot = Snapshot(stream="", seq=1, alerts_stream="", alerts_seq=0, memory=memory)
        await Snapshots(bus, durable.name).save(snapshot)
    await bus.publish(events)
    return await (await Managed.on(bus)).why.answer(WhyRequest(actor=actor, id=rule.rule_id))


@pytest.mark.parametrize(
    ("rule", "memories", "events", "said"), CASES, ids=[f"{type(case[0]).__name__}-{n}" for n, case in enumerate(CASES)]
)
async def test_a_rule_that_is_silent_says_what_it_wants_and_what_was_seen(
    memory_bus: MemoryBus, rule: AlertRule, memories: dict[Durable, dict[str, Any]], events: list[Event], said: str
) -> None:
    reply = await asked(memory_bus, rule, memories, events)
    [verdict] = reply.verdicts
    assert reply.about == "the rule 'Mine'"
    assert (verdict.subscriber_id, verdict.rule_id, verdict.outcome) == ("ann", "mine", "no_match")
    assert verdict.sentence.startswith(f"The rule 'Mine' does not ring now: {said}"), verdict.sentence


async def test_what_cannot_be_read_is_no_reason_not_to_answer(memory_bus: MemoryBus) -> None:
    memory_bus.store_raw(SIGNALS, "signals.a.b.1h.c", b"garbage")
    [verdict] = (await asked(memory_bus, SignalRule(**COMMON), {}, [])).verdicts
    assert "nothing that it looks at has been seen yet" in verdict.sentence


async def test_what_would_ring_is_said_to_match(memory_bus: MemoryBus) -> None:
    reply = await asked(memory_bus, SignalRule(**COMMON), {}, [a_signal()])
    assert reply.verdicts[0].sentence == "The rule 'Mine' matches what was seen last."
    assert reply.verdicts[0].evidence[0].event["type"] == "signal.v1"


async def test_hours_and_silences_that_bar_a_rule_are_named(memory_bus: MemoryBus) -> None:
    upkeep = Silence(silence_id="upkeep", starts_ms=0, ends_ms=NOW_MS + 1, author="ops", rules=["mine"])
    await memory_bus.bucket(SILENCES).put("upkeep", encode(upkeep))
    reply = await asked(memory_bus, replace(PRICE, active_hours=Hours(start="08:00", end="09:00")), {}, [])
    assert "outside its active hours 08:00-09:00 UTC (it was Tue 22:13); it is silenced by 'upkeep'" in str(
        reply.verdicts[0].sentence
    )


async def test_when_a_rule_rang_last_and_what_it_matched_last_is_told_too(memory_bus: MemoryBus) -> None:
    about: dict[str, Any] = {"rule_id": "mine", "ts_ms": 60_000}
    rang = AlertRaised(
        alert_id="a",
        kind="price",
        cause_id="c",
        title="It rose",
        text="",
        fields={},
        subscribers=["ann"],
        **about,
        **PLACE,
    )
    spared = AlertSuppressed(alert_id="b", cause_id="d", subscriber_id=None, reason="once", **about)
    reply = await asked(memory_bus, PRICE, {}, [rang, spared])
    assert [one.sentence for one in reply.verdicts[1:]] == [
        (
            "It rang last 1970-01-01 00:01 UTC: It rose. "
            "Not sent to ann: no delivery was opened, there was no destination left for it."
        ),
        (
            "It matched last 1970-01-01 00:01 UTC. "
            "Not sent to ann: the rule rings once, and did so on this instrument before."
        ),
    ]


async def test_a_rule_of_others_is_nobodys_business(memory_bus: MemoryBus) -> None:
    assert (await asked(memory_bus, PRICE, {}, [], OPERATOR)).verdicts[0].subscriber_id is None
    with pytest.raises(Rejected, match="not_found"):
        await asked(memory_bus, PRICE, {}, [], BOB)


async def test_subscribers_are_answered_in_their_language_and_by_their_clock(memory_bus: MemoryBus) -> None:
    ann = Subscriber(subscriber_id="ann", name="Ann", destinations=[], language="id", zone="Asia/Jakarta")
    await memory_bus.bucket(SUBSCRIBERS).put("ann", encode(ann))
    reply = await asked(memory_bus, PRICE, {ALERTING_TRADES: SEEN}, [a_signal()])
    assert reply.verdicts[0].sentence == (
        "Aturan 'Mine' sekarang tidak berbunyi: BTC/USDT di 64,000, yang diminta naik melewati 65,000 "
        "(terakhir terlihat 1970-01-01 07:00:01 WIB)."
    )
    why = (await Managed.on(memory_bus)).why
    told = await why.answer(WhyRequest(actor=ANN, id=a_signal().signal_id))
    assert told.about == "Beli BTC/USDT, 1h: EMA cross (2024-08-09 08:00 WIB)"
    assert told.verdicts[0].sentence == "ann tidak punya aturan tentang sinyal."


@pytest.mark.parametrize(
    ("event", "rule", "said"),
    [
        (fill("ETH/USDT"), PaperRule(**COMMON, symbols=["BTC/USDT"]), "the symbol is ETH/USDT, it wants BTC/USDT"),
        (OFF, SystemRule(**COMMON, events=["rounds"]), "the event is quarantine, it wants rounds"),
        (LETTER, SystemRule(**COMMON, services=["t"]), "the service is s, it wants t"),
        (STALE, FeedRule(**COMMON, symbols=["BTC/USDT"]), "the symbol is none, it wants BTC/USDT"),
        (ended("stop"), OutcomeRule(**COMMON, sides=["short"]), "the side is long, it wants short"),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_whatever_can_ring_can_be_asked_about_by_its_id(
    memory_bus: MemoryBus, event: Event, rule: AlertRule, said: str
) -> None:
    await asked(memory_bus, rule, {}, [event])
    why = (await Managed.on(memory_bus)).why
    [verdict] = (await why.answer(WhyRequest(actor=ANN, id=event.event_id))).verdicts
    assert verdict.sentence == f"The rule 'Mine' did not match: {said}."
    assert verdict.evidence[0].event == msgspec.to_builtins(event)
