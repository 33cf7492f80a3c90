"""From streams to alerts over restarts: nothing twice, no crossing lost or invented."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeGuard

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.alerts import a_signal

from alerting.directory import Directory
from alerting.intake import Intake
from alerting.judging.audience import Doorkeeper
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import (
    Destination,
    FeedRule,
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
    CandlesClosed,
    ClockAdvanced,
    DeadLetter,
    EquityMarked,
    Event,
    FeedChanged,
    IndicatorsComputed,
    OutcomeMeasured,
    RoundsChanged,
    SendDue,
    SignalRaised,
    TradesReceived,
)
from tocsin_common.streams import (
    ALERT_RULES,
    ALERTING_CANDLES,
    ALERTING_DEAD,
    ALERTING_ENGINE,
    ALERTING_FEEDS,
    ALERTING_INDICATORS,
    ALERTING_OUTCOMES,
    ALERTING_PAPER,
    ALERTING_SIGNALS,
    ALERTING_TRADES,
    ALERTS,
    DELIVERIES,
    SEND,
    SIGNALS,
    SILENCES,
    SNAPSHOTS,
    SUBSCRIBERS,
    TRADES,
    Durable,
    Stream,
)


def minute(number: int) -> SignalRaised:
    return a_signal((number + 1) * 60_000, exchange="x", symbol="A/B", timeframe="1m")


def trade(number: int, price: float) -> TradesReceived:
    return TradesReceived(
        exchange="x",
        symbol="A/B",
        source="s",
        cursor=number,
        received_ms=0,
        ts_ms=[number],
        price=[price],
        amount=[1.0],
        side="b",
        trade_id=[str(number)],
    )


class Alerting:
    """One life of an intake on a durable: takes batches by hand, publishes and acknowledges when told to."""

    def __init__(self, bus: MemoryBus, durable: Durable) -> None:
        self.bus, self.durable = bus, durable
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.directory = Directory(bus, metrics)
        self.consumer = bus.consumer(durable)
        pipeline = Pipeline(Doorkeeper(self.directory.subscribers, self.directory.silences), ttl_ms=60_000)
        self.intake = Intake(bus, durable, self.directory.rules, pipeline, metrics, lambda *_: None)

    async def start(self) -> Alerting:
        await self.directory.load()
        await self.consumer.reset(await self.intake.start())
        return self

    async def fetch(self, limit: int = 500) -> list[Incoming]:
        return [Incoming(message.event(), message) for message in await self.consumer.fetch(limit, 0.0)]

    async def take(self, limit: int = 500) -> Sequence[Event]:
        """One turn of the loop: fetch, handle, publish, acknowledge."""
        batch = await self.fetch(limit)
        events = (await self.intake.decide(batch)).events() if batch else []
        await self.bus.publish(events)
        await self.consumer.ack([item.message for item in batch])
        return events


@pytest.fixture
async def bus(memory_bus: MemoryBus) -> MemoryBus:
    rules: list[SignalRule | PriceRule] = [
        SignalRule(rule_id="all", name="all", subscribers=["ada"]),
        PriceRule(rule_id="level", name="level", subscribers=["ada"], exchange="x", symbol="A/B", level=100.0),
    ]
    ada = Subscriber(
        subscriber_id="ada",
        name="Ada",
        destinations=[
            Destination(channel="console", address="here"),
            Destination(channel="webhook", address="https://example.org"),
        ],
    )
    for rule in rules:
        await memory_bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
    await memory_bus.bucket(SUBSCRIBERS).put("ada", encode(ada))
    return memory_bus


async def counts(bus: MemoryBus) -> list[int]:
    return [(await bus.stream_state(stream)).messages for stream in (ALERTS, DELIVERIES, SEND)]


def forget_ids(bus: MemoryBus, *streams: Stream) -> None:
    """The server's duplicate window is over."""
    for stream in streams:
        bus._log(stream).ids.clear()


def rings(events: Sequence[Event]) -> list[str]:
    return [event.title for event in events if isinstance(event, AlertRaised)]


async def test_what_was_begun_before_it_was_queued_is_due_again_after_a_crash(bus: MemoryBus) -> None:
    await bus.publish([minute(1)])
    killed = await Alerting(bus, ALERTING_SIGNALS).start()
    outbox = await killed.intake.decide(await killed.fetch())
    await bus.publish([*outbox.alerts, *outbox.opened])
    opened = await bus.last(DELIVERIES, outbox.opened[0].subject)
    assert opened is not None
    began = msgspec.structs.replace(outbox.opened[0], state="attempting", attempt=1)
    await bus.append(began, expected_last=opened.seq)
    successor = await Alerting(bus, ALERTING_SIGNALS).start()
    await successor.consumer.reset(0)
    again = [event.delivery_id for event in await successor.take() if isinstance(event, SendDue)]
    assert again == [due.delivery_id for due in outbox.due]


async def test_a_batch_published_but_not_acknowledged_is_not_published_again(bus: MemoryBus) -> None:
    await bus.publish([minute(1), minute(2)])
    first = await Alerting(bus, ALERTING_SIGNALS).start()
    await bus.publish(await first.intake.handle(await first.fetch()))
    assert await counts(bus) == [2, 4, 4]
    forget_ids(bus, ALERTS, DELIVERIES, SEND)
    second = await Alerting(bus, ALERTING_SIGNALS).start()
    await second.take()
    assert (await counts(bus))[:2] == [2, 4]


@pytest.mark.parametrize("stored", range(1, 10))
async def test_a_batch_published_in_part_is_completed_after_a_restart(bus: MemoryBus, stored: int) -> None:
    await bus.publish([minute(1), minute(2)])
    first = await Alerting(bus, ALERTING_SIGNALS).start()
    await bus.publish((await first.intake.decide(await first.fetch())).events()[:stored])
    forget_ids(bus, ALERTS, DELIVERIES, SEND)
    second = await Alerting(bus, ALERTING_SIGNALS).start()
    await second.take()
    alerts, deliveries, due = await counts(bus)
    assert (alerts, deliveries) == (2, 4)
    assert len({event.delivery_id for event in await due_work(bus)}) == 4
    assert due >= 4


async def due_work(bus: MemoryBus) -> list[Event]:
    last = (await bus.stream_state(SEND)).last_seq
    return [message.event() for message in await bus.reader(SEND, after=0).through(last)]


async def test_a_failed_publish_is_repeated_without_the_part_that_was_stored(bus: MemoryBus) -> None:
    await bus.publish([minute(1)])
    alerting = await Alerting(bus, ALERTING_SIGNALS).start()
    batch = await alerting.fetch()
    events = (await alerting.intake.decide(batch)).events()
    await bus.publish(events[:2])
    forget_ids(bus, ALERTS, DELIVERIES, SEND)
    await bus.publish(await alerting.intake.handle(batch))
    assert await counts(bus) == [1, 2, 2]


async def test_a_crossing_between_two_lives_is_neither_lost_nor_told_twice(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 99.0)])
    first = await Alerting(bus, ALERTING_TRADES).start()
    await first.take()
    await bus.publish([trade(2, 101.0)])
    second = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await second.take()) == ["A/B rose above 100"]
    await bus.publish([trade(3, 102.0)])
    third = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await third.take()) == []
    assert (await counts(bus))[0] == 1


async def test_a_snapshot_brings_the_last_price_of_trades_that_retention_removed(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 99.0)])
    first = await Alerting(bus, ALERTING_TRADES).start()
    await first.take()
    first.intake._snapshot_due_s = 0.0
    await bus.publish([trade(2, 98.0)])
    await first.take()
    bus.purge(TRADES, before=3)
    await bus.publish([trade(3, 101.0)])
    second = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await second.take()) == ["A/B rose above 100"]


async def test_acknowledged_trades_are_not_judged_by_rules_made_later(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 49.0), trade(2, 51.0)])
    first = await Alerting(bus, ALERTING_TRADES).start()
    await first.take()
    late = PriceRule(rule_id="late", name="late", subscribers=["ada"], exchange="x", symbol="A/B", level=50.0)
    await bus.bucket(ALERT_RULES).put("late", encode(late))
    second = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await second.take()) == []
    await bus.publish([trade(3, 49.0)])
    assert rings(await second.take()) == ["A/B fell below 50"]


async def test_batches_taken_one_by_one_after_a_failure_ring_the_same(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 99.0), trade(2, 101.0), trade(3, 99.0)])
    alerting = await Alerting(bus, ALERTING_TRADES).start()
    batch = await alerting.fetch()
    whole = rings((await alerting.intake.decide(batch)).events())
    single = [title for item in batch for title in rings((await alerting.intake.decide([item])).events())]
    assert single == whole == ["A/B rose above 100", "A/B fell below 100"]


def ringing(events: Sequence[Event]) -> list[int | str]:
    """Market times of what rang, and the reasons of what did not."""
    return [event.ts_ms if isinstance(event, AlertRaised) else event.reason for event in events if is_decision(event)]


def is_decision(event: Event) -> TypeGuard[AlertRaised | AlertSuppressed]:
    return isinstance(event, AlertRaised | AlertSuppressed)


SELDOM = SignalRule(rule_id="all", name="all", subscribers=["ada"], at_most_every_s=90, cooldown_s=90)


async def test_what_rang_when_is_known_after_a_restart_from_the_stream_of_alerts(bus: MemoryBus) -> None:
    await bus.bucket(ALERT_RULES).put("all", encode(SELDOM))
    await bus.publish([minute(1)])
    assert ringing(await (await Alerting(bus, ALERTING_SIGNALS).start()).take()) == [120_000]
    await bus.publish([minute(2), minute(3)])
    assert ringing(await (await Alerting(bus, ALERTING_SIGNALS).start()).take()) == ["cooldown", 240_000]


async def test_a_rule_written_again_starts_anew(bus: MemoryBus) -> None:
    once = msgspec.structs.replace(SELDOM, frequency="once")
    for number in range(2):
        await bus.bucket(ALERT_RULES).put("all", encode(once))
        await bus.publish([minute(2 * number), minute(2 * number + 1)])
        alerting = await Alerting(bus, ALERTING_SIGNALS).start()
        assert ringing(await alerting.take()) == [60_000 * (2 * number + 1), "cooldown"]


@pytest.mark.parametrize("stored", range(4))
async def test_what_was_decided_before_a_crash_stands_whatever_was_set_since(bus: MemoryBus, stored: int) -> None:
    await bus.bucket(ALERT_RULES).put("all", encode(SELDOM))
    await bus.publish([minute(1), minute(2), minute(3)])
    killed = await Alerting(bus, ALERTING_SIGNALS).start()
    decided = (await killed.intake.decide(await killed.fetch())).alerts
    assert ringing(decided) == [120_000, "cooldown", 240_000]
    await bus.publish(decided[:stored])
    upkeep = Silence(silence_id="upkeep", starts_ms=0, ends_ms=10**9, author="ann")
    await bus.bucket(SILENCES).put("upkeep", encode(upkeep))
    forget_ids(bus, ALERTS)
    await (await Alerting(bus, ALERTING_SIGNALS).start()).take()
    last = (await bus.stream_state(ALERTS)).last_seq
    on_stream = [message.event() for message in await bus.reader(ALERTS, after=0).through(last)]
    assert ringing(on_stream) == [*ringing(decided)[:stored], *["silenced"] * (3 - stored)]
    assert len(await due_work(bus)) == 2 * sum(isinstance(event, AlertRaised) for event in on_stream)


async def test_a_failed_publish_is_repeated_with_the_same_decisions(bus: MemoryBus) -> None:
    await bus.bucket(ALERT_RULES).put("all", encode(SELDOM))
    await bus.publish([minute(number) for number in range(4)])
    alerting = await Alerting(bus, ALERTING_SIGNALS).start()
    batch = await alerting.fetch()
    first = ringing((await alerting.intake.decide(batch)).alerts)
    assert first == [60_000, "cooldown", 180_000, "cooldown"]
    assert ringing((await alerting.intake.decide(batch)).alerts) == first


def candle(number: int, volume: float) -> CandlesClosed:
    return CandlesClosed(
        exchange="x",
        symbol="A/B",
        timeframe="5m",
        origin="trades",
        open_ms=[number * 300_000],
        open=[1.0],
        high=[1.0],
        low=[1.0],
        close=[1.0],
        volume=[volume],
    )


def rsi(hour: int, value: float) -> IndicatorsComputed:
    return IndicatorsComputed(
        exchange="x", symbol="A/B", timeframe="1h", open_ms=hour * 3_600_000, close=1.0, values={"rsi_14": value}
    )


def marked(n: int, worth: int) -> EquityMarked:
    return EquityMarked(portfolio="main", n=n, ts_ms=n, cash=Decimal(worth), holdings=[], equity=Decimal(worth))


TIED = {"name": "n", "subscribers": ["ada"], "exchange": "x", "symbol": "A/B"}


async def test_what_rules_remember_of_the_market_outlives_restarts(bus: MemoryBus) -> None:
    """Each life takes one step: what rings in the last one rests on what all before it saw."""
    sticky = PriceRule(rule_id="level", level=100.0, rearm_percent=5.0, **TIED)  # type: ignore[arg-type]
    move = MoveRule(rule_id="move", percent=20.0, window_s=60, **TIED)  # type: ignore[arg-type]
    volume = VolumeRule(rule_id="volume", timeframe="5m", factor=3.0, candles=2, **TIED)  # type: ignore[arg-type]
    indicator = IndicatorRule(rule_id="rsi", name="n", subscribers=["ada"], left="rsi_14", operator="below", right=30)
    paper = PaperRule(rule_id="paper", name="n", subscribers=["ada"])
    for rule in (sticky, move, volume, indicator, paper):
        await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))

    async def step(durable: Durable, event: Event) -> list[str]:
        await bus.publish([event])
        alerting = await Alerting(bus, durable).start()
        found = rings(await alerting.take())
        alerting.intake._snapshot_due_s = 0.0
        await alerting.intake._settle(10**9)
        return found

    prices = [99.0, 101.0, 99.0, 101.0, 110.0, 99.0, 121.0]
    assert [await step(ALERTING_TRADES, trade(n, price)) for n, price in enumerate(prices)] == [
        [],
        ["A/B rose above 100"],
        [],
        [],
        [],
        ["A/B fell below 100"],
        ["A/B rose 20 % within 60 s"],
    ]
    volumes = [1.0, 3.0, 6.0, 10.0]
    assert [await step(ALERTING_CANDLES, candle(n, volume)) for n, volume in enumerate(volumes)] == [
        [],
        [],
        ["A/B, 5m: 3.0 times the usual volume"],
        [],
    ]
    assert [await step(ALERTING_INDICATORS, rsi(n, value)) for n, value in enumerate([25.0, 24.0, 31.0, 29.0])] == [
        ["A/B, 1h: RSI 14 is below 30"],
        [],
        [],
        ["A/B, 1h: RSI 14 is below 30"],
    ]
    assert [await step(ALERTING_PAPER, marked(n, worth)) for n, worth in enumerate([1000, 900, 880, 960, 890])] == [
        [],
        ["Portfolio main is 10.0 % below its peak"],
        [],
        [],
        ["Portfolio main is 11.0 % below its peak"],
    ]


async def test_a_rule_made_later_is_armed_whatever_was_crossed_before(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 99.0), trade(2, 101.0), trade(3, 99.0)])
    first = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await first.take()) == ["A/B rose above 100", "A/B fell below 100"]
    for rule_id in ("level", "new"):
        sticky = PriceRule(rule_id=rule_id, level=100.0, rearm_percent=5.0, **TIED)  # type: ignore[arg-type]
        await bus.bucket(ALERT_RULES).put(rule_id, encode(sticky))
    second = await Alerting(bus, ALERTING_TRADES).start()
    await second.take()
    await bus.publish([trade(4, 101.0)])
    assert rings(await second.take()) == ["A/B rose above 100"] * 2


async def test_outcomes_and_feeds_ring_like_signals(bus: MemoryBus) -> None:
    outcomes = OutcomeRule(rule_id="o", name="o", subscribers=["ada"], results=["target"])
    feeds = FeedRule(rule_id="f", name="f", subscribers=["ada"], states=["stale"], at_most_every_s=60)
    for rule in (outcomes, feeds):
        await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
    ended = OutcomeMeasured(
        signal_id="s1",
        strategy="ema_cross",
        exchange="x",
        symbol="A/B",
        timeframe="1h",
        side="long",
        result="target_2",
        confirmed_ms=0,
        ended_ms=7_200_000,
        exit_price=110.0,
        r_multiple=2.0,
        mfe_r=2.1,
        mae_r=-0.2,
        targets_hit=2,
        basis="trades",
    )
    await bus.publish([ended, msgspec.structs.replace(ended, signal_id="s2", result="stop")])
    alerting = await Alerting(bus, ALERTING_OUTCOMES).start()
    assert rings(await alerting.take()) == ["Long A/B, 1h: EMA cross reached target 2, +2.0 R"]
    await bus.publish([FeedChanged(exchange="x", symbol=None, state="stale", ts_ms=ts_ms) for ts_ms in (0, 1, 60_000)])
    alerting = await Alerting(bus, ALERTING_FEEDS).start()
    assert ringing(await alerting.take()) == [0, "too_often", 60_000]


async def test_operators_hear_of_slow_rounds_and_of_messages_given_up_once(bus: MemoryBus) -> None:
    rule = SystemRule(rule_id="ops", name="o", subscribers=["ada"], cooldown_s=60)
    await bus.bucket(ALERT_RULES).put("ops", encode(rule))
    figures = {"candles_seq": 1, "waited_ms": 1, "took_ms": 1, "symbols": 1, "candles": 1, "longest": "read"}
    await bus.publish([RoundsChanged(pace="slow", at_ms=5, longest_ms=1, **figures)])  # type: ignore[arg-type]
    assert rings(await (await Alerting(bus, ALERTING_ENGINE).start()).take()) == ["Rounds are slow"]
    letters = [
        DeadLetter(
            service="api-gateway",
            stream=stream,
            seq=seq,
            original_subject="dead.x",
            reason="bug",
            error="e",
            payload=b"p",
        )
        for seq, stream in enumerate(["SIGNALS", "SIGNALS", "DEAD"])
    ]
    await bus.publish(letters)
    assert ringing(await (await Alerting(bus, ALERTING_DEAD).start()).take())[1:] == ["cooldown"]


async def test_a_stream_made_anew_starts_with_no_memory(bus: MemoryBus) -> None:
    await bus.publish([trade(1, 99.0)])
    first = await Alerting(bus, ALERTING_TRADES).start()
    await first.take()
    del bus._logs["TRADES"], bus._durables[ALERTING_TRADES.name]
    await bus.publish([trade(1, 101.0)])
    second = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await second.take()) == []


async def test_a_snapshot_nobody_can_read_is_passed_over(bus: MemoryBus) -> None:
    await bus.bucket(SNAPSHOTS).put(ALERTING_TRADES.name, b"{")
    await bus.publish([trade(1, 99.0), trade(2, 101.0)])
    alerting = await Alerting(bus, ALERTING_TRADES).start()
    assert rings(await alerting.take()) == ["A/B rose above 100"]


async def test_another_event_on_the_stream_is_rejected(bus: MemoryBus) -> None:
    alerting = await Alerting(bus, ALERTING_SIGNALS).start()
    await bus.publish([minute(1)])
    [item] = await alerting.fetch()
    stranger = ClockAdvanced(stage="market", source="s", time_ms=1, trades_seq=0, candles_seq=0, cursor=0)
    with pytest.raises(Rejected):
        await alerting.intake.handle([Incoming(stranger, item.message)])


async def test_what_is_decided_is_counted(bus: MemoryBus) -> None:
    await bus.publish([minute(1)])
    alerting = await Alerting(bus, ALERTING_SIGNALS).start()
    await alerting.take()
    sample = alerting.registry.get_sample_value
    assert sample("alerting_alerts_matched_total", {"kind": "signal"}) == 1
    assert sample("alerting_deliveries_queued_total", {"channel": "webhook"}) == 1
    assert (await bus.stream_state(SIGNALS)).messages == 1


async def test_new_input_is_published_without_a_single_look_at_what_is_stored(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerting = await Alerting(bus, ALERTING_SIGNALS).start()
    await bus.publish([minute(number) for number in range(500)])
    looks: list[str] = []
    monkeypatch.setattr(bus, "last", lambda *_: looks.append("last"))
    monkeypatch.setattr(bus, "reader", lambda *_, **__: looks.append("reader"))
    events = (await alerting.intake.decide(await alerting.fetch())).events()
    assert len(events) == 500 * (1 + 2 + 2)
    assert [event.subject.split(".")[0] for event in events] == ["alerts"] * 500 + ["deliveries"] * 1000 + [
        "send"
    ] * 1000
    assert looks == []
