"""A channel is away for an hour, in virtual time: the others notice nothing, and afterwards nobody is flooded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from tests.alerting_live import Receiver, alerting, facts
from tests.alerts import a_signal
from tests.virtual_time import STARTED_MS, clock_ms, run

from alerting.sending.delivery import BACKOFF_MAX_S
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.events import ChannelName, DeliveryChanged, DigestLine
from tocsin_common.streams import (
    ALERT_RULES,
    DELIVERIES,
    DIGESTS,
    SUBSCRIBERS,
)

FROM_S, HOUR_S, AFTERWARDS_S = 600, 3600, 600
DEAD: ChannelName = "telegram"
CHANNELS: tuple[ChannelName, ...] = ("telegram", "discord", "webhook")
SIGNALS_EVERY_S = 150
SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


def subscriber(name: str, *channels: ChannelName) -> Subscriber:
    to = [Destination(channel=channel, address=f"{channel}-{name}", on_unknown="resend") for channel in channels]
    return Subscriber(subscriber_id=name, name=name, destinations=to)


PEOPLE = [
    subscriber("ann", "telegram"),
    subscriber("ben", "telegram", "webhook"),
    subscriber("cat", "discord"),
    subscriber("dan", "webhook", "discord"),
    subscriber("eve", "telegram", "discord", "webhook"),
]


async def market(bus: MemoryBus, moments_s: Iterable[int]) -> None:
    """A signal at each of these virtual seconds, confirmed at that moment."""
    loop = asyncio.get_running_loop()
    for n, at_s in enumerate(moments_s):
        await asyncio.sleep(at_s - loop.time())
        await bus.publish([a_signal(STARTED_MS + at_s * 1000, timeframe="1m", symbol=SYMBOLS[n % 3])])


@dataclass
class Evening:
    """What came of it: who was asked and took what, how every delivery ended, and what was put aside."""

    receivers: dict[ChannelName, Receiver]
    ends: dict[str, DeliveryChanged]
    lines: dict[str, DigestLine]


async def simulated(away: tuple[float, float], found: list[Evening]) -> None:
    """Signals from before until after the outage, and time for all that follows."""
    bus = MemoryBus(clock_ms)
    rule = SignalRule(rule_id="all", name="all", subscribers=[one.subscriber_id for one in PEOPLE])
    await bus.bucket(ALERT_RULES).put("all", encode(rule))
    for one in PEOPLE:
        await bus.bucket(SUBSCRIBERS).put(one.subscriber_id, encode(one))
    receivers = {name: Receiver(away if name == DEAD else (0.0, 0.0)) for name in CHANNELS}
    async with alerting(bus, receivers):
        await market(bus, range(SIGNALS_EVERY_S, FROM_S + HOUR_S + 600, SIGNALS_EVERY_S))
        await asyncio.sleep(AFTERWARDS_S)
    steps = [event for event in await facts(bus, DELIVERIES) if isinstance(event, DeliveryChanged)]
    lines = [event for event in await facts(bus, DIGESTS) if isinstance(event, DigestLine)]
    found.append(Evening(receivers, {one.delivery_id: one for one in steps}, {one.delivery_id: one for one in lines}))


def evening(*, away: tuple[float, float] = (0.0, 0.0)) -> Evening:
    found: list[Evening] = []
    run(simulated(away, found))
    return found[0]


@pytest.fixture(scope="module")
def quiet() -> Evening:
    return evening()


@pytest.fixture(scope="module")
def outage() -> Evening:
    return evening(away=(FROM_S, FROM_S + HOUR_S))


def test_who_is_not_on_the_dead_channel_notices_nothing(quiet: Evening, outage: Evening) -> None:
    for name in CHANNELS:
        same = quiet.receivers[name].asked == outage.receivers[name].asked
        assert same == (name != DEAD)


def test_afterwards_each_gets_one_digest_that_says_why_with_its_lines_in_order(outage: Evening) -> None:
    told = outage.receivers[DEAD].took
    assert sorted(told) == ["telegram-ann", "telegram-ben", "telegram-eve"]
    for address, messages in told.items():
        digests = [(at_s, one) for at_s, one in messages if "late alerts" in one.title]
        assert len(digests) == 1
        [(at_s, digest)] = digests
        lines = [line for line in outage.lines.values() if f"telegram-{line.subscriber_id}" == address]
        assert digest.title == f"{len(lines)} late alerts"
        assert "telegram could not be reached from 2024-08-09 00:" in digest.text
        assert at_s < FROM_S + HOUR_S + BACKOFF_MAX_S
        assert digest.alert_id not in {line.alert_id for line in lines}


def test_every_alert_is_in_one_message_or_one_digest(outage: Evening) -> None:
    told = Counter(one.delivery_id for took in outage.receivers[DEAD].took.values() for _, one in took)
    assert set(told.values()) == {1}
    for delivery_id, end in outage.ends.items():
        assert end.state in ("sent", "digested")
        if end.state == "digested":
            assert (end.reason, outage.ends[end.provider_ref].state) == ("late", "sent")
            assert delivery_id not in told
        elif end.channel == DEAD:
            assert told[delivery_id] == 1
    assert {one for one, end in outage.ends.items() if end.state == "digested"} == set(outage.lines)
    assert len(outage.lines) > 3 * 15


def test_nothing_is_put_aside_where_nothing_is_away(quiet: Evening) -> None:
    assert not quiet.lines
    assert {end.state for end in quiet.ends.values()} == {"sent"}
