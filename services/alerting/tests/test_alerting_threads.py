"""Which deliveries the news of a signal may answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.alerts import a_signal

from alerting.judging.audience import Doorkeeper
from alerting.judging.limits import Rung
from alerting.judging.silences import Silences
from alerting.matching.causes import Cause, Match
from alerting.matching.rules import Rules
from alerting.pipeline import Pipeline
from alerting.sending.threads import CANDIDATES_MAX, threaded
from tocsin_common.documents import Destination, OutcomeRule, PaperRule, SignalRule, Subscriber
from tocsin_common.events import OrderFilled, OutcomeMeasured, SendDue

SIGNAL = a_signal()
OUTCOME = OutcomeMeasured(
    signal_id=SIGNAL.signal_id,
    strategy=SIGNAL.strategy,
    exchange=SIGNAL.exchange,
    symbol=SIGNAL.symbol,
    timeframe=SIGNAL.timeframe,
    side=SIGNAL.side,
    result="stop",
    confirmed_ms=SIGNAL.confirmed_ms,
    ended_ms=SIGNAL.confirmed_ms + 1,
    exit_price=90.0,
    r_multiple=-1.0,
    mfe_r=0.0,
    mae_r=-1.0,
    targets_hit=0,
    basis="trades",
)
FILL = OrderFilled(
    portfolio="main",
    n=2,
    ts_ms=SIGNAL.confirmed_ms,
    position_id="p",
    signal_id=SIGNAL.signal_id,
    exchange=SIGNAL.exchange,
    symbol=SIGNAL.symbol,
    side="buy",
    reason="entry",
    amount=Decimal(1),
    price=Decimal(100),
    market_price=Decimal(100),
    fee=Decimal(0),
    basis="trade",
    basis_ref="1",
    position_amount=Decimal(1),
    position_entry_price=Decimal(100),
    realised_pnl=Decimal(0),
    cash_after=Decimal(0),
)
ADA = Subscriber(
    subscriber_id="ada",
    name="Ada",
    destinations=[
        Destination(channel="telegram", address="1"),
        Destination(channel="email", address="ada@example.org"),
        Destination(channel="telegram", address="2"),
    ],
)
BOB = Subscriber(subscriber_id="bob", name="Bob", destinations=[Destination(channel="telegram", address="3")])
PEOPLE = {"ada": ADA, "bob": BOB}
ENDED = OutcomeRule(rule_id="ended", name="ended", subscribers=["ada", "bob"])
PAPER = PaperRule(rule_id="paper", name="paper", subscribers=["ada"])


def wanting(rule_id: str, **given: Any) -> SignalRule:
    return SignalRule(**{"rule_id": rule_id, "name": rule_id, "subscribers": ["ada"], **given})


def due(rule: SignalRule | OutcomeRule | PaperRule, cause: Cause) -> tuple[Match, list[SendDue]]:
    match = Match.of(rule, 1, cause, 0)
    return match, Pipeline(Doorkeeper(PEOPLE, Silences()), ttl_ms=1).run([match], Rung(), {}, now_ms=0).due


def answers(cause: Cause, rule: OutcomeRule | PaperRule, *wanted: SignalRule) -> dict[str, list[str]]:
    """By delivery, what it may answer."""
    rules = Rules()
    for one in wanted:
        rules.put(one)
    match, work = due(rule, cause)
    return {one.delivery_id: one.answers for one in threaded(work, [match], rules, PEOPLE)}


@pytest.mark.parametrize(("cause", "rule"), [(OUTCOME, ENDED), (FILL, PAPER)])
def test_news_answer_what_the_same_place_got_of_the_signal(cause: Cause, rule: OutcomeRule | PaperRule) -> None:
    _, told = due(wanting("mine"), SIGNAL)
    found = list(answers(cause, rule, wanting("mine")).values())
    assert found[:3] == [[one.delivery_id] for one in told]
    assert found[3:] == ([[]] if rule is ENDED else []), "Bob was told of no signal"


def test_every_rule_that_may_have_rung_is_asked_for() -> None:
    others = [wanting("other", strategies=["macd_trend"]), wanting("low"), wanting("high", min_confidence=99)]
    _, low = due(wanting("low"), SIGNAL)
    _, high = due(wanting("high"), SIGNAL)
    found = next(iter(answers(OUTCOME, ENDED, *others).values()))
    assert found == [low[0].delivery_id, high[0].delivery_id]


def test_not_more_than_a_few_are_asked_for() -> None:
    found = answers(OUTCOME, ENDED, *(wanting(str(number)) for number in range(50)))
    assert max(map(len, found.values())) == CANDIDATES_MAX


def test_what_is_no_news_of_a_signal_answers_nothing() -> None:
    match, work = due(wanting("mine"), SIGNAL)
    rules = Rules()
    rules.put(wanting("mine"))
    assert threaded(work, [match], rules, PEOPLE) == work
