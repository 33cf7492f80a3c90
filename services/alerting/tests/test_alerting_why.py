"""Why did I (not) get this? One sentence for every decision and for every end of a delivery, with its proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.alerts import CONFIRMED_MS, a_signal
from tests.managed import ANN, BOB, OPERATOR, Managed

from alerting.judging.audience import Doorkeeper
from alerting.judging.limits import Rung
from alerting.judging.silences import Silences
from alerting.matching.causes import Match
from alerting.matching.rules import Rules
from alerting.pipeline import Outbox, Pipeline
from alerting.reasons import Suppressed, Undelivered
from alerting.why import whereabouts
from alerting.why.facets import unmet
from alerting.why.sentences import Settings, of_delivery, of_suppression
from alerting.why.whereabouts import Whereabouts
from alerting.words.voice import RECORD, Voice, texts
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, Document, Hours, SignalRule, Silence, Subscriber, encode
from tocsin_common.errors import Rejected
from tocsin_common.events import AlertSuppressed, DeliveryChanged, DeliveryState, SignalRaised
from tocsin_common.requests.management import Actor, WhyReply, WhyRequest
from tocsin_common.streams import ALERT_RULES, ALERTING_SIGNALS, SIGNALS, SILENCES, SUBSCRIBERS
from tocsin_common.subjects import encode_token

SIGNAL = a_signal()
CHAT = Destination(channel="telegram", address="123456789")
MAIL = Destination(channel="email", address="ann@example.org")
SUBSCRIBER = Subscriber(subscriber_id="ann", name="Ann", destinations=[CHAT, MAIL])
RULE = SignalRule(rule_id="all", name="All", subscribers=["ann"])
UPKEEP = Silence(silence_id="upkeep", starts_ms=0, ends_ms=CONFIRMED_MS + 60_000, author="ops")


@dataclass
class World:
    """What is set, and what was decided by it."""

    bus: MemoryBus
    rules: list[SignalRule] = field(default_factory=lambda: [RULE])
    subscribers: list[Subscriber] = field(default_factory=lambda: [SUBSCRIBER])
    silences: list[Silence] = field(default_factory=list)

    async def happens(self, signal: SignalRaised = SIGNAL, *, rung_before_s: int | None = None) -> Outbox:
        """The documents are written, the signal is stored and the pipeline decides; what it says is stored."""
        silences = Silences()
        for bucket, documents in (
            (ALERT_RULES, [(one.rule_id, one) for one in self.rules]),
            (SUBSCRIBERS, [(one.subscriber_id, one) for one in self.subscribers]),
            (SILENCES, [(one.silence_id, one) for one in self.silences]),
        ):
            for name, document in documents:
                assert isinstance(document, Document)
                await self.bus.bucket(bucket).put(encode_token(name), encode(document))
        for silence in self.silences:
            silences.put(silence)
        rules = Rules()
        for rule in self.rules:
            rules.put(rule, 1)
        rung, door = Rung(), Doorkeeper({one.subscriber_id: one for one in self.subscribers}, silences)
        if rung_before_s is not None:
            earlier = a_signal(signal.confirmed_ms - rung_before_s * 1000)
            Pipeline(door, ttl_ms=1).run(
                [Match.of(rule, 1, earlier, 0) for rule in rules.for_signal(earlier)], rung, {}, now_ms=0
            )
        [stored] = await self.bus.publish([signal])
        message = (await self.bus.reader(SIGNALS, after=stored.seq - 1).through(stored.seq))[0]
        matches = [Match.of(rule, 1, signal, message.stored_ms) for rule in rules.for_signal(signal)]
        outbox = Pipeline(door, ttl_ms=60_000).run(matches, rung, {}, now_ms=message.stored_ms)
        await self.bus.publish(outbox.events())
        consumer = self.bus.consumer(ALERTING_SIGNALS)
        await consumer.ack(await consumer.fetch(100, 0))
        return outbox

    async def step(self, opened: DeliveryChanged, state: DeliveryState, attempt: int, after_ms: int, why: str) -> None:
        step = replace(opened, state=state, attempt=attempt, at_ms=opened.at_ms + after_ms, reason=why)
        await self.bus.publish([step])

    async def why(self, wanted: str, actor: Actor = OPERATOR, subscriber_id: str = "") -> WhyReply:
        question = WhyRequest(actor=actor, id=wanted, subscriber_id=subscriber_id)
        return await (await Managed.on(self.bus)).why.answer(question)


@pytest.fixture
def world(memory_bus: MemoryBus) -> World:
    return World(memory_bus)


NIGHT = Hours(start="22:00", end="07:00", zone="Europe/Berlin")
REASONS: list[tuple[Suppressed, dict[str, Any], dict[str, Any], str]] = [
    (Suppressed.RULE_EXPIRED, {"expires_ms": 1000}, {}, "the rule was over, since 1970-01-01 00:00:01 UTC"),
    (
        Suppressed.OUTSIDE_HOURS,
        {"active_hours": Hours(start="08:00", end="09:00")},
        {},
        "outside the rule's active hours 08:00-09:00 UTC (it was Fri 01:00)",
    ),
    (Suppressed.ONCE, {"frequency": "once"}, {}, "the rule rings once, and did so on this instrument before"),
    (Suppressed.SAME_CANDLE, {"frequency": "once_per_candle"}, {}, "the rule had rung in this candle already"),
    (
        Suppressed.TOO_OFTEN,
        {"at_most_every_s": 600},
        {},
        "the rule had rung on this instrument shortly before (every 600 s at most)",
    ),
    (Suppressed.COOLDOWN, {"cooldown_s": 600}, {}, "the rule was cooling down (600 s)"),
    (Suppressed.SILENCED, {}, {}, "silenced by 'upkeep', until 2024-08-09 01:01 UTC"),
    (
        Suppressed.UNKNOWN_SUBSCRIBER,
        {},
        {"subscriber_id": "nobody"},
        "the rule names somebody who is not a subscriber",
    ),
    (Suppressed.SUBSCRIBER_DISABLED, {}, {"enabled": False}, "the subscriber is switched off"),
    (
        Suppressed.MUTED,
        {},
        {"muted_until_ms": CONFIRMED_MS + 60_000},
        "everything was muted, until 2024-08-09 01:01 UTC",
    ),
    (Suppressed.SEVERITY_OFF, {}, {"severities": ["critical"]}, "only some severities are wanted, not info"),
    (Suppressed.KIND_OFF, {}, {"preferences": {"signal": "off"}}, "alerts of this kind are switched off"),
    (
        Suppressed.QUIET_HOURS,
        {},
        {"quiet_hours": NIGHT},
        "quiet hours 22:00-07:00 Europe/Berlin (it was Fri 03:00); info does not wake",
    ),
    (Suppressed.NO_DESTINATION, {}, {"destinations": []}, "there is no destination at all"),
    (Suppressed.NO_CHANNEL, {"channels": ["discord"]}, {}, "there is no destination on the channels of the rule"),
    (
        Suppressed.NOT_VERIFIED,
        {},
        {"destinations": [replace(CHAT, verified=False)]},
        "nobody has confirmed the destinations",
    ),
    (
        Suppressed.UNSUBSCRIBED,
        {},
        {"destinations": [replace(CHAT, enabled=False)]},
        "the readers of the destinations have unsubscribed",
    ),
]


@pytest.mark.parametrize(("reason", "rule", "subscriber", "sentence"), REASONS, ids=[str(one[0]) for one in REASONS])
async def test_every_reason_not_to_tell_somebody_is_a_sentence(
    world: World, reason: Suppressed, rule: dict[str, Any], subscriber: dict[str, Any], sentence: str
) -> None:
    world.rules = [replace(RULE, **rule)]
    world.subscribers = [replace(SUBSCRIBER, **subscriber)]
    world.silences = [UPKEEP] if reason is Suppressed.SILENCED else []
    outbox = await world.happens(rung_before_s=60)
    reply = await world.why(SIGNAL.signal_id, ANN)
    [verdict] = reply.verdicts
    assert (verdict.subscriber_id, verdict.rule_id, verdict.outcome) == ("ann", "all", "not_sent")
    assert verdict.sentence == f"Not sent to ann: {sentence}."
    [proof] = verdict.evidence
    assert (proof.stream, proof.event["reason"]) == ("ALERTS", str(reason))
    assert (await world.why(outbox.alerts[0].alert_id, ANN)).verdicts == reply.verdicts


@pytest.mark.parametrize("reason", [*Suppressed, "something_new"])
@pytest.mark.parametrize("voice", [RECORD, Voice("id")])
def test_no_reason_is_left_without_words(reason: str, voice: Voice) -> None:
    event = AlertSuppressed(alert_id="a", rule_id="r", cause_id="c", subscriber_id="ann", ts_ms=0, reason=reason)
    sentence = of_suppression(event, "ann", Settings(None, None, None), voice)
    assert sentence.startswith(voice.say("why.spared", name="ann", reason="")[:-2])
    assert sentence.endswith(".")
    assert "_" not in sentence


@pytest.mark.parametrize("reason", [*Undelivered, "something_new"])
@pytest.mark.parametrize("voice", [RECORD, Voice("id")])
def test_every_reason_of_the_sender_has_words(reason: str, voice: Voice) -> None:
    step = DeliveryChanged(
        delivery_id="d",
        alert_id="a",
        subscriber_id="ann",
        channel="email",
        state="failed",
        attempt=1,
        at_ms=0,
        reason=reason,
    )
    _, sentence = of_delivery([step], 0, "signal", voice)
    assert sentence.startswith(voice.say("became.not_sent", channel="email", reason="")[:-1])
    assert reason == "something_new" or f"undelivered.{reason}" in texts(voice.language)
    assert "_" not in sentence


async def test_hours_that_were_changed_since_do_not_explain_what_they_do_not(world: World) -> None:
    world.subscribers = [replace(SUBSCRIBER, quiet_hours=NIGHT)]
    await world.happens()
    day = replace(SUBSCRIBER, quiet_hours=Hours(start="12:00", end="13:00"))
    await world.bus.bucket(SUBSCRIBERS).put("ann", encode(day))
    [verdict] = (await world.why(SIGNAL.signal_id)).verdicts
    assert verdict.sentence == "Not sent to ann: quiet hours, as they were set then; info does not wake."


async def test_a_delivery_tells_how_long_it_took_and_what_came_between(world: World) -> None:
    outbox = await world.happens()
    chat, mail = outbox.opened
    for state, attempt, after_ms, why in (
        ("attempting", 1, 10, ""),
        ("retrying", 1, 90, "rate_limited"),
        ("attempting", 2, 300, ""),
        ("sent", 2, 400, ""),
    ):
        await world.step(chat, state, attempt, after_ms, why)  # type: ignore[arg-type]
    await world.step(mail, "attempting", 1, 10, "")
    await world.step(mail, "failed", 1, 20, "refused")
    reply = await world.why(outbox.alerts[0].alert_id)
    [verdict] = reply.verdicts
    assert reply.about == "Long BTC/USDT, 1h: EMA cross (2024-08-09 01:00 UTC)"
    assert verdict.outcome == "sent"
    assert verdict.sentence == (
        "ann: sent on telegram 0.4 s after the signal, at attempt 2, after it was rate limited; "
        "not sent on email: the message was refused."
    )
    assert [proof.stream for proof in verdict.evidence] == ["ALERTS"] + 8 * ["DELIVERIES"]
    for delivery in (chat, mail):
        assert (await world.why(delivery.delivery_id, ANN)).verdicts[0].sentence == verdict.sentence


@pytest.mark.parametrize(
    ("state", "reason", "outcome", "sentence"),
    [
        ("queued", "", "under_way", "waiting to be sent on telegram"),
        ("attempting", "", "under_way", "being sent on telegram"),
        (
            "retrying",
            "server_error",
            "under_way",
            "waiting for another attempt on telegram: the server had an error",
        ),
        ("expired", "deadline", "not_sent", "not sent on telegram: it was too late"),
        (
            "unknown",
            "interrupted",
            "uncertain",
            "perhaps sent on telegram: the process ended during the request, and it is not repeated",
        ),
    ],
)
async def test_every_state_of_a_delivery_is_a_sentence(
    world: World, state: DeliveryState, reason: str, outcome: str, sentence: str
) -> None:
    world.subscribers = [replace(SUBSCRIBER, destinations=[CHAT])]
    outbox = await world.happens()
    if state != "queued":
        await world.step(outbox.opened[0], state, 1, 10, reason)
    [verdict] = (await world.why(outbox.opened[0].delivery_id)).verdicts
    assert (verdict.outcome, verdict.sentence) == (outcome, f"ann: {sentence}.")


async def test_what_was_told_in_a_digest_says_so(world: World) -> None:
    world.subscribers = [replace(SUBSCRIBER, destinations=[CHAT], digests={"info": "hourly"})]
    outbox = await world.happens()
    [verdict] = (await world.why(SIGNAL.signal_id)).verdicts
    assert verdict.sentence == "ann: waiting for a digest on telegram, because such alerts come every hour."
    aside = outbox.opened[0]
    digest = replace(aside, delivery_id="digest", alert_id="box", state="queued", reason="")
    await world.bus.publish([digest])
    await world.step(digest, "sent", 1, 2_000, "")
    told = replace(aside, state="digested", reason="hourly", provider_ref="digest")
    await world.bus.publish([told])
    [verdict] = (await world.why(SIGNAL.signal_id)).verdicts
    assert verdict.sentence == (
        "ann: put into a digest, because such alerts come every hour: sent on telegram 2.0 s after the signal."
    )
    reply = await world.why("digest", ANN)
    assert (reply.about, reply.verdicts[0].outcome) == ("a digest of several alerts", "sent")


async def test_a_rule_that_did_not_match_says_what_it_wanted(world: World) -> None:
    world.rules = [
        replace(RULE, rule_id="shorts", name="S", sides=["short"], min_confidence=75),
        replace(RULE, rule_id="others", name="Others", symbols=["A/B", "C/D", "E/F", "G/H", "I/J"]),
        replace(RULE, rule_id="off", name="Off", enabled=False),
        replace(RULE, rule_id="bobs", name="Bob's", subscribers=["bob"], sides=["short"]),
    ]
    await world.happens()
    reply = await world.why(SIGNAL.signal_id, ANN)
    assert {verdict.rule_id: (verdict.outcome, verdict.sentence) for verdict in reply.verdicts} == {
        "shorts": (
            "no_match",
            "The rule 'S' did not match: the side is long, it wants short; the confidence is 70, it wants 75 or more.",
        ),
        "others": (
            "no_match",
            "The rule 'Others' did not match: the symbol is BTC/USDT, it wants A/B or C/D or E/F or 2 others.",
        ),
        "off": ("no_match", "The rule 'Off' matches, but it is switched off."),
    }
    assert all(one.evidence[0].event == msgspec.to_builtins(SIGNAL) for one in reply.verdicts)


async def test_a_rule_of_later_and_a_signal_of_just_now_are_told_apart(world: World) -> None:
    world.rules = []
    await world.happens()
    assert (await world.why(SIGNAL.signal_id, ANN)).verdicts[0].sentence == "ann has no rule on a signal."
    await world.bus.bucket(ALERT_RULES).put("all", encode(RULE))
    [verdict] = (await world.why(SIGNAL.signal_id, ANN)).verdicts
    assert "matches as it is now, but did not then" in verdict.sentence
    new = a_signal(CONFIRMED_MS + 3_600_000)
    await world.bus.publish([new])
    [verdict] = (await world.why(new.signal_id, ANN)).verdicts
    assert verdict.sentence == "The rule 'All' matches, but alerting has not come to this signal yet."


async def test_others_are_nobodys_business(world: World) -> None:
    world.rules = [replace(RULE, subscribers=["ann", "bob"])]
    world.subscribers = [SUBSCRIBER, replace(SUBSCRIBER, subscriber_id="bob", muted_until_ms=CONFIRMED_MS + 1)]
    outbox = await world.happens()
    everybody = await world.why(SIGNAL.signal_id)
    assert [verdict.subscriber_id for verdict in everybody.verdicts] == ["ann", "bob"]
    [mine] = (await world.why(SIGNAL.signal_id, ANN)).verdicts
    assert "bob" not in str(mine)
    assert mine == (await world.why(SIGNAL.signal_id, OPERATOR, "ann")).verdicts[0]
    with pytest.raises(Rejected, match="not_found: nothing is stored"):
        await world.why(outbox.opened[0].delivery_id, BOB)
    with pytest.raises(Rejected, match="not_found: nothing is stored"):
        await world.why("no-such-id", ANN)


async def test_a_match_that_rang_for_nobody_is_told_to_everybody_it_was_for(world: World) -> None:
    world.rules = [replace(RULE, expires_ms=1, subscribers=["ann", "bob"])]
    await world.happens()
    assert [one.subscriber_id for one in (await world.why(SIGNAL.signal_id)).verdicts] == ["ann", "bob"]
    await world.bus.bucket(ALERT_RULES).delete("all")
    [verdict] = (await world.why(SIGNAL.signal_id)).verdicts
    assert (verdict.subscriber_id, verdict.sentence) == (None, "Not sent to anybody: the rule was over.")


async def test_only_the_newest_are_remembered(memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "REMEMBERED", 3)
    monkeypatch.setattr(whereabouts, "PAGE", 2)
    known = Whereabouts(memory_bus, SIGNALS, lambda event: (event.event_id,))
    signals = [a_signal(CONFIRMED_MS + n * 3_600_000) for n in range(7)]
    await memory_bus.publish(signals[:5])
    memory_bus.store_raw(SIGNALS, "signals.a.b.1h.c", b"garbage")
    assert [len(await known.messages(one.signal_id)) for one in signals] == [0, 0, 0, 1, 1, 0, 0]
    await memory_bus.publish(signals[5:])
    assert [len(await known.messages(one.signal_id)) for one in signals] == [0, 0, 0, 0, 1, 1, 1]


facets = {
    "exchanges": ["binance", "kraken"],
    "symbols": ["BTC/USDT", "ETH/USDT"],
    "timeframes": ["1h", "4h"],
    "strategies": ["ema_cross", "supertrend"],
    "sides": ["long", "short"],
}


@given(
    st.fixed_dictionaries({name: st.lists(st.sampled_from(values), max_size=1) for name, values in facets.items()}),
    st.integers(60, 80),
)
def test_what_is_unmet_agrees_with_what_matches(wanted: dict[str, Any], least: int) -> None:
    rule = replace(RULE, min_confidence=least, **wanted)
    rules = Rules()
    rules.put(rule)
    assert (unmet(rule, SIGNAL, RECORD) == []) == (rules.for_signal(SIGNAL) == [rule])
