"""Every invariant over the streams finds the violation it is there for, and nothing in an honest market."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tocsin.audit import alerting, digests, market, paper, signals, streams
from tocsin.audit.facts import Facts
from tocsin.audit.invariant import check as verdict_on
from tocsin.audit.table import STREAM_INVARIANTS
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    CandlesClosed,
    ClockAdvanced,
    DeadLetter,
    DeliveryChanged,
    DigestEnded,
    DigestLine,
    EquityMarked,
    Event,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    SignalRaised,
    TradesReceived,
)

Read = Callable[[Sequence[Event]], Coroutine[Any, Any, Facts]]
Check = Callable[[Facts], Iterable[str]]

UNEXPLAINED = AlertSuppressed(alert_id="a2", rule_id="r", cause_id="c", subscriber_id="me", ts_ms=1, reason="")
OVERLAPPING = DigestEnded(
    digest_id="x",
    delivery_id="d4",
    subscriber_id="me",
    channel="console",
    place=1,
    box="late",
    first_seq=1,
    through_seq=2,
    state="sent",
)
COLUMNS = ("open_ms", "open", "high", "low", "close", "volume", "trades")


def changed(events: Sequence[Event], kind: type[Event], position: int = 0, /, **values: Any) -> list[Event]:
    """The same events with one of them changed: the `position`-th of its type."""
    of_kind = [event for event in events if isinstance(event, kind)]
    chosen = of_kind[position]
    return [msgspec.structs.replace(event, **values) if event is chosen else event for event in events]


def without(events: Sequence[Event], kind: type[Event], position: int | None = None) -> list[Event]:
    """The same events, less all (or the `position`-th) of a type."""
    of_kind = [event for event in events if isinstance(event, kind)]
    left_out = of_kind if position is None else [of_kind[position]]
    return [event for event in events if not any(event is other for other in left_out)]


async def test_an_honest_market_keeps_every_invariant(honest: list[Event], facts_of: Read) -> None:
    facts = await facts_of(honest)
    assert [finding for invariant in STREAM_INVARIANTS for finding in invariant.check(facts)] == []


def trade_lost(events: list[Event]) -> list[Event]:
    """The ninth minute's trade is missing on TRADES."""
    columns = next(event for event in events if isinstance(event, TradesReceived))
    keep = [position for position in range(10) if position != 8]
    lists = {name: [getattr(columns, name)[n] for n in keep] for name in ("ts_ms", "price", "amount", "trade_id")}
    return changed(events, TradesReceived, side="b" * 9, **lists)


BROKEN: list[tuple[Check, Callable[[list[Event]], list[Event]], str]] = [
    (market.trades_add_up, trade_lost, "9 trades on TRADES"),
    (market.trades_add_up, lambda e: changed(e, ClockAdvanced, totals={"trades_late": 2}), "2 late"),
    (market.no_candle_has_trades_that_are_not_stored, trade_lost, "1 trades counted, 0 stored"),
    (
        market.every_candle_is_stored_once,
        lambda e: [*e, msgspec.structs.replace(e[1], **{n: getattr(e[1], n)[:1] for n in COLUMNS})],
        "1m 1700000100000 revision 0",
    ),
    (market.every_candle_is_possible, lambda e: changed(e, CandlesClosed, 1, high=[90.0, 106.0]), "90.0"),
    (market.every_candle_is_possible, lambda e: changed(e, CandlesClosed, 1, open_ms=[1, 2]), "5m 1:"),
    (
        market.long_candles_are_made_of_short_ones,
        lambda e: changed(e, CandlesClosed, 1, high=[103.5, 106.0]),
        "high is 103.5, its 1m candles make 103.0",
    ),
    (
        market.long_candles_are_made_of_short_ones,
        lambda e: changed(e, CandlesClosed, 1, volume=[2.5, 2.4]),
        "volume is 2.4, its 1m candles make 2.5",
    ),
    (signals.every_signal_names_its_candle, lambda e: changed(e, SignalRaised, candle_open_ms=7), "no 1m candle"),
    (signals.every_signal_names_its_candle, lambda e: changed(e, SignalRaised, entry=98.0), "entry 98.0"),
    (signals.every_signal_has_one_outcome_or_lives, lambda e: without(e, OutcomeMeasured), "no outcome"),
    (signals.every_outcome_has_its_signal, lambda e: without(e, SignalRaised), "without a signal"),
    (signals.every_outcome_has_its_signal, lambda e: changed(e, OutcomeMeasured, ended_ms=5), "outside its life"),
    (alerting.every_alert_has_its_cause, lambda e: without(e, SignalRaised), "not on SIGNALS"),
    (alerting.every_alert_has_its_cause, lambda e: changed(e, AlertRaised, kind="price", cause_id=""), "no cause"),
    (
        alerting.every_alert_has_its_cause,
        lambda e: [
            *e,
            AlertSuppressed(alert_id="a2", rule_id="r", cause_id="c", subscriber_id="me", ts_ms=1, reason=""),
        ],
        "without a reason",
    ),
    (
        alerting.every_alert_is_delivered_to_its_subscribers,
        lambda e: changed(e, AlertRaised, subscribers=["me", "you"]),
        "no delivery for you",
    ),
    (alerting.every_delivery_has_its_alert, lambda e: without(e, AlertRaised), "not on ALERTS"),
    (alerting.every_delivery_has_its_alert, lambda e: changed(e, AlertRaised, subscribers=["you"]), "to me"),
    (alerting.every_delivery_ends_once, lambda e: without(e, DeliveryChanged, 4), "nothing is due in SEND"),
    (
        alerting.every_delivery_ends_once,
        lambda e: changed(e, DeliveryChanged, 2, state="failed"),
        "ended 2 times (failed, sent)",
    ),
    (digests.everything_put_aside_is_a_line, lambda e: without(e, DigestLine), "d2: digested, but not on DIGESTS"),
    (
        digests.every_line_is_told_by_the_digest_it_names,
        lambda e: changed(e, DigestEnded, through_seq=0),
        "d2: line 1 is not in 1 to 0",
    ),
    (
        digests.every_line_is_told_by_the_digest_it_names,
        lambda e: changed(e, DigestEnded, box="hourly-1"),
        "of another box",
    ),
    (digests.every_line_is_told_by_the_digest_it_names, lambda e: without(e, DigestEnded), "d3, which has not ended"),
    (digests.no_two_digests_tell_the_same, lambda e: [*e, OVERLAPPING], "d4: begins at 1, d3 goes to 1"),
    (alerting.every_delivery_takes_legal_steps, lambda e: without(e, DeliveryChanged, 0), "starts as attempting"),
    (
        alerting.every_delivery_takes_legal_steps,
        lambda e: changed(e, DeliveryChanged, 1, state="sent"),
        "retrying after sent",
    ),
    (
        alerting.every_delivery_takes_legal_steps,
        lambda e: changed(e, DeliveryChanged, 3, attempt=0),
        "attempt 0 after 1",
    ),
    (paper.every_fill_has_its_signal, lambda e: changed(e, OrderFilled, signal_id="nobody"), "not on SIGNALS"),
    (paper.every_fill_has_its_signal, lambda e: changed(e, OrderFilled, symbol="ETH/USDT"), "ETH/USDT"),
    (paper.every_fill_has_its_market_price, lambda e: changed(e, OrderFilled, basis_ref="77"), "trade 77"),
    (
        paper.every_fill_has_its_market_price,
        lambda e: changed(e, OrderFilled, basis="candle", basis_ref="1700000280000", market_price=Decimal(110)),
        "110 is not within",
    ),
    (paper.every_portfolio_counts_its_events, lambda e: without(e, EquityMarked, 0), "4 stands where 3"),
    (paper.every_portfolio_counts_its_events, lambda e: without(e, PortfolioOpened), "begins with OrderFilled"),
    (
        paper.cash_follows_from_fills,
        lambda e: changed(e, OrderFilled, 1, cash_after=Decimal("1000.07950000001")),
        "cash 1000.07950000001",
    ),
    (paper.cash_follows_from_fills, lambda e: changed(e, OrderFilled, fee=Decimal("0.02")), "cash 989.7898"),
    (paper.positions_follow_from_fills, lambda e: changed(e, OrderFilled, amount=Decimal("0.2")), "fills 0.2"),
    (paper.positions_follow_from_fills, lambda e: changed(e, EquityMarked, holdings=[]), "not the open positions"),
    (
        paper.equity_is_cash_plus_positions,
        lambda e: changed(e, EquityMarked, equity=Decimal("1000.08980000001")),
        "cash and positions make 1000.0898",
    ),
]


@pytest.mark.parametrize(("check", "broken", "expected"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_planted_violation_is_found(
    check: Check, broken: Callable[[list[Event]], list[Event]], expected: str, honest: list[Event], facts_of: Read
) -> None:
    assert not list(check(await facts_of(honest)))
    findings = list(check(await facts_of(broken(honest))))
    assert any(expected in finding for finding in findings), findings


async def test_a_signal_that_has_not_expired_needs_no_outcome(honest: list[Event], facts_of: Read) -> None:
    facts = await facts_of(without(honest, OutcomeMeasured))
    assert facts.settled is not None
    facts.settled = msgspec.structs.replace(facts.settled, time_ms=next(iter(facts.signals.values())).expires_ms - 1)
    assert not list(signals.every_signal_has_one_outcome_or_lives(facts))


async def test_trades_of_a_candle_that_is_still_open_are_not_missing(honest: list[Event], facts_of: Read) -> None:
    minutes = next(event for event in honest if isinstance(event, CandlesClosed))
    nine = {name: getattr(minutes, name)[:9] for name in COLUMNS}
    assert not list(market.trades_add_up(await facts_of(changed(honest, CandlesClosed, 0, **nine))))


async def test_flat_minutes_do_not_shape_a_longer_candle(honest: list[Event], facts_of: Read) -> None:
    minutes = next(event for event in honest if isinstance(event, CandlesClosed))
    flat = {"open": 50.0, "high": 50.0, "low": 50.0, "close": 50.0, "volume": 0.0, "trades": 0}
    first = {name: [value, *getattr(minutes, name)[1:]] for name, value in flat.items()}
    traded_from_101 = {"open": [101.0, 104.0], "low": [99.0, 103.5], "volume": [2.0, 2.5]}
    events = changed(changed(honest, CandlesClosed, 0, **first), CandlesClosed, 1, **traded_from_101)
    assert not list(market.long_candles_are_made_of_short_ones(await facts_of(events)))


async def test_corrections_are_not_held_against_candles_made_before(honest: list[Event], facts_of: Read) -> None:
    minutes = next(event for event in honest if isinstance(event, CandlesClosed))
    second = {name: getattr(minutes, name)[1:2] for name in COLUMNS}
    corrected = {**second, "high": [900.0], "trades": None, "origin": "exchange", "revision": 1}
    events = [*honest, msgspec.structs.replace(minutes, **corrected)]
    assert not list(market.long_candles_are_made_of_short_ones(await facts_of(events)))
    assert not list(market.every_candle_is_stored_once(await facts_of(events)))
    assert not list(market.trades_add_up(await facts_of(events)))


async def test_an_id_stored_twice_is_found(honest: list[Event], facts_of: Read) -> None:
    facts = await facts_of(honest)
    facts.streams["SIGNALS"].repeated_ids.append("SIGNALS 2: x")
    assert list(streams.every_id_is_stored_once(facts)) == ["SIGNALS 2: x"]


async def test_a_message_that_is_no_event_needs_its_dead_letter(honest: list[Event], facts_of: Read) -> None:
    facts = await facts_of(honest)
    facts.streams["SIGNALS"].malformed[2] = "not JSON"
    assert list(streams.every_message_is_an_event(facts)) == ["SIGNALS 2: not JSON"]
    letter = DeadLetter(
        service="alerting", stream="SIGNALS", seq=2, original_subject="x", reason="malformed", error="", payload=b""
    )
    facts = await facts_of([*honest, letter])
    facts.streams["SIGNALS"].malformed[2] = "not JSON"
    assert not list(streams.every_message_is_an_event(facts))
    assert not list(streams.no_bug_gave_a_message_up(facts))


async def test_a_dead_letter_after_a_bug_is_a_violation(honest: list[Event], facts_of: Read) -> None:
    letter = DeadLetter(
        service="alerting", stream="SIGNALS", seq=1, original_subject="x", reason="bug", error="KeyError", payload=b""
    )
    assert list(streams.no_bug_gave_a_message_up(await facts_of([*honest, letter]))) == [
        "alerting: 1 messages given up after a bug"
    ]


async def test_what_retention_removed_is_not_called_a_violation(honest: list[Event], facts_of: Read) -> None:
    facts = await facts_of(trade_lost(honest))
    invariant = next(one for one in STREAM_INVARIANTS if one.check is market.trades_add_up)
    assert verdict_on(invariant, facts, frozenset()).verdict == "violated"
    result = verdict_on(invariant, facts, frozenset({"TRADES"}))
    assert result.verdict == "not checkable"
    assert "TRADES" in result.examples[0]
