"""The real process is killed at named points, again and again, and nobody is forgotten or told what never was.

Real NATS, the real client libraries, local servers for all channels that write down whatever they accepted and refused,
also where their answer is lost, and a name server of our own. A point is named by what others see: the n-th time
something is published (before or after the server has it), or a receiver has accepted or refused something. Seeded:
`TOCSIN_ALERT_RUNS=100` makes a hundred runs, and a failing seed reproduces with `pytest -k 'killed and 17'`.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.alerting_lives import Point, World, a_world
from tests.alerts import CONFIRMED_MS, a_signal
from tests.channels import WEB_PAGE, Fault
from tests.channels.record import Recorder
from tests.names import NO_ANSWER, NO_SUCH_NAME, SERVER_FAILURE, SUFFIX

from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import TERMINAL_STATES, ChannelName, DeliveryChanged

RUNS = int(os.environ.get("TOCSIN_ALERT_RUNS", "5"))
SYMBOLS = [f"COIN{number}/USDT" for number in range(3)]

FAULTS = [
    Fault(status=429),
    Fault(status=429, retry_after_s=1),
    Fault(status=503),
    Fault(status=502, page=WEB_PAGE),
    Fault(reset=True),
    Fault(after_accept=True),
    Fault(hang=True),
]
"""What passes."""

REFUSALS: dict[ChannelName, list[int]] = {
    "telegram": [403],
    "email": [403],
    "discord": [403, 410],
    "webhook": [403, 410],
    "webpush": [403, 410],
}
"""What is final, by status; the mail server's words for it are `550 No such user`."""

UNKNOWN = [NO_SUCH_NAME, SERVER_FAILURE, NO_ANSWER]
"""How a name is not found."""

POINTS = [
    Point("", "alerts.raised", nth=3),
    Point("", "deliveries.", nth=8),
    Point("", "deliveries.", b'"attempting"', nth=8),
    Point("", "deliveries.", b'"retrying"', nth=4),
    Point("", "deliveries.", b'"failed"', nth=2),
    Point("", "send.", nth=8),
    Point("", "$JS.ACK.SIGNALS", nth=3),
    Point("", "$JS.ACK.SEND", nth=8),
    Point("", "$JS.ACK.SEND", b"-NAK", nth=4),
    Point("", "$KV.permits", nth=4),
    Point("after", "accepted", nth=8),
    Point("after", "refused", nth=4),
]
"""Each with the last time it may be; before or after, where it does not say."""

MEANING = {429: "rate_limited", 502: "server_error", 503: "server_error", 403: "forbidden", 410: "gone"}
MEANING_OF_MAIL = {429: "server_error", 503: "server_error", 403: "refused"}
"""The reason in the ledger for what a receiver answered; a web page makes no sense in a mail server's answer."""

FINAL = frozenset({"forbidden", "gone", "refused"})
IN_DOUBT = frozenset({"timeout", "connection_lost", "bad_reply", "circuit_open"})


def misbehave(world: World, random: Random) -> None:
    """Receivers and the name server make mistakes that pass, and refuse a message; one may want nothing any more."""
    for channel, server in world.servers.items():
        server.faults.extend(random.choice(FAULTS) for _ in range(random.randrange(3)))
        if random.random() < 0.25:
            server.faults.insert(random.randrange(3), Fault(status=random.choice(REFUSALS[channel])))
        world.names.faults[f"{channel}{SUFFIX}"].extend(random.choice(UNKNOWN) for _ in range(random.randrange(3)))
    if random.random() < 0.25:
        channel = random.choice(list(REFUSALS))
        world.servers[channel].always = Fault(status=random.choice(REFUSALS[channel]))


def drawn(random: Random) -> Point:
    point = random.choice(POINTS)
    moment = point.moment or random.choice(["before", "after"])
    return point._replace(moment=moment, nth=random.randrange(1, point.nth + 1))


@pytest.mark.parametrize("seed", range(RUNS))
async def test_a_killed_service_forgets_nobody_and_invents_nothing(
    jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    async with a_world(jetstream_bus, nats_url, tmp_path) as world:
        misbehave(world, random)
        await world.bus.publish([a_signal(CONFIRMED_MS + n, symbol=symbol) for n, symbol in enumerate(SYMBOLS)])
        points = [drawn(random) for _ in range(random.randrange(1, 3))]
        print(f"seed {seed}: {points}")
        for point in points:
            await world.live(point)
        await world.live()
        print(f"killed {world.executioner.killed} of {len(points)}, names {dict(world.names.asked)}")
        await check(world)


async def check(world: World) -> None:
    """There is one ledger for each message, and each agrees with what its receiver wrote down."""
    ledgers, symbols = await world.ledgers(), await world.symbols()
    assert sorted(symbols.values()) == SYMBOLS
    kept = {(ledger[0].channel, symbols[ledger[0].alert_id]): ledger for ledger in ledgers.values()}
    assert set(kept) == {(channel, symbol) for channel in world.servers for symbol in SYMBOLS}
    assert len(ledgers) == len(kept)
    for (channel, symbol), ledger in kept.items():
        agree(ledger, symbol, world.servers[channel])
    for server in world.servers.values():
        assert all(any(symbol in message.text for symbol in SYMBOLS) for message in server.accepted)


def agree(ledger: list[DeliveryChanged], symbol: str, server: Recorder) -> None:
    """What a receiver wants is accepted once, or once more for each attempt in doubt; what it refuses for good has
    failed with its reason, and was not tried again; every answer it gave is in the ledger, and no other: but that a
    receiver asks for patience holds for its other messages, too, also for one whose attempt has just begun."""
    story = [(change.state, change.reason) for change in ledger]
    states, end = [change.state for change in ledger], ledger[-1]
    assert states[0] == "queued", story
    assert [state in TERMINAL_STATES for state in states] == [False] * (len(states) - 1) + [True], story
    assert states.count("attempting") == max(change.attempt for change in ledger), story
    doubts = in_doubt(ledger)
    accepted = [message for message in server.accepted if symbol in message.text]
    meaning = MEANING_OF_MAIL if end.channel == "email" else MEANING
    answers = Counter(meaning.get(refused.status) for refused in server.refused if symbol in refused.text)
    stated = Counter(change.reason for change in ledger if change.reason in meaning.values())
    closed = any(refused.status == 429 for refused in server.refused)
    for reason in meaning.values():
        assert answers[reason] <= stated[reason] + doubts, (reason, answers, story)
        assert stated[reason] <= answers[reason] or (closed and reason == "rate_limited"), (reason, answers, story)
    assert len(accepted) + sum(answers.values()) <= states.count("attempting"), (len(accepted), answers, story)
    final = sum(stated[reason] for reason in FINAL)
    if end.state == "sent":
        assert server.always is None, story
        assert 1 <= len(accepted) <= 1 + doubts, (len(accepted), story)
        assert final == 0, story
        assert not accepted[0].ref or end.channel == "email" or end.provider_ref in {one.ref for one in accepted}
    else:
        assert (end.state, final) == ("failed", 1), story
        assert end.reason in FINAL, story
        assert len(accepted) <= doubts, (len(accepted), story)
    assert all(end.delivery_id in message.key for message in accepted if message.key)


def in_doubt(ledger: list[DeliveryChanged]) -> int:
    """Attempts that may have been taken though nothing says so: interrupted, or without an answer to believe."""
    doubted = 0
    for change, after in zip(ledger, [*ledger[1:], None], strict=True):
        if change.state == "attempting" and (after is None or after.state in ("attempting", "unknown")):
            doubted += 1
        elif change.state == "attempting" and after is not None and after.state == "retrying":
            doubted += after.reason in IN_DOUBT
    return doubted
