"""What the bot and the scheduled report tell of what was put in, by a real gateway: NATS, PostgreSQL, HTTP, a key."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from tests.bot import ADA, OPERATOR, BotWorld
from tests.channels.telegram_bot import BotServer
from tests.reports import DAY_MS, HOUR_MS, MONDAY_MS, WEEKLY, ReportWorld

from api_gateway.keys import new_key
from tocsin_common import documents
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import AlertRaised, OutcomeMeasured, SignalRaised
from tocsin_common.streams import ALERTS, API_KEYS

NOW_MS = time.time_ns() // 1_000_000
DUE = WEEKLY.last(MONDAY_MS)
EDGES_MS = (NOW_MS, NOW_MS - 7 * DAY_MS, NOW_MS - 14 * DAY_MS)
"""Where the bot's weeks begin and end, but for the time that a test takes."""

Pair = tuple[SignalRaised, OutcomeMeasured]


@dataclass(frozen=True)
class Api:
    """The gateway as alerting knows it."""

    origin: str
    key: str


def history(make: Any) -> list[Pair]:
    """Signals of the weeks that are reported on and the ones before, each ended within the hour."""
    dice, pairs = random.Random(3), []
    begin_ms, end_ms = min(*EDGES_MS, DUE.from_ms - 7 * DAY_MS), max(NOW_MS, DUE.to_ms)
    for n in range(240):
        ended_ms = dice.randrange(begin_ms, end_ms)
        if any(abs(ended_ms - edge_ms) < 2 * HOUR_MS for edge_ms in (*EDGES_MS, DUE.from_ms, DUE.to_ms)):
            continue
        symbol, strategy = dice.choice(["BTC/USDT", "ETH/USDT"]), dice.choice(["ema_cross", "breakout"])
        about = {"symbol": symbol, "strategy": strategy, "confirmed_ms": ended_ms - HOUR_MS, "candle_open_ms": n}
        prices = {"entry": 100.0 + n, "stop": 99.0 + n, "targets": [101.0 + n, 102.0 + n]}
        signal = make.signal(n, **about, **prices, expires_ms=NOW_MS + 30 * DAY_MS)
        r = dice.choice([-1.0, -1.0, 0.5, 2.25])
        pairs.append((signal, make.outcome(signal, ended_ms=ended_ms, r_multiple=r)))
    return pairs


def ended(pairs: list[Pair], from_ms: int, to_ms: int) -> tuple[int, int, float]:
    """Of the outcomes in a time: how many, how many won, and their sum of R."""
    rs = [outcome.r_multiple for _, outcome in pairs if from_ms <= outcome.ended_ms < to_ms]
    return len(rs), sum(r > 0 for r in rs), sum(rs)


async def test_the_bot_and_the_scheduled_report_tell_what_was_put_in(
    jetstream_bus: JetStreamBus, start_gateway: Any, make: Any, until: Any
) -> None:
    pairs = history(make)
    gateway = await start_gateway(jetstream_bus)
    token, key = new_key("bot")
    await jetstream_bus.bucket(API_KEYS).put(key.key_id, documents.encode(key))
    await jetstream_bus.publish([event for pair in pairs for event in pair])
    await until(lambda: not gateway.keyring.empty)
    await gateway.projected()
    api = Api(gateway.url, token)
    await the_bot_tells(jetstream_bus, api, pairs)
    await the_report_tells(jetstream_bus, api, pairs)


async def the_bot_tells(bus: JetStreamBus, api: Api, pairs: list[Pair]) -> None:
    newest = max((signal for signal, _ in pairs if signal.symbol == "BTC/USDT"), key=lambda one: one.confirmed_ms)
    count, wins, total_r = ended(pairs, NOW_MS - 7 * DAY_MS, NOW_MS)
    async with BotServer() as telegram:
        world = BotWorld(bus, telegram, api)
        await world.subscribe("ada", ADA)
        await world.subscribe("boss", OPERATOR)
        async with world.running():
            assert f"Entry: {newest.entry:g}\n" in await world.answer(ADA, "/signal btc")
            assert len((await world.answer(ADA, "/signals")).splitlines()) > 5
            assert f"{wins / count * 100:.0f} % of the signals" in (said := await world.answer(ADA, "/winrate 7"))
            assert f"{wins} of {count}" in said
            assert f"{total_r:+.2f} R" in await world.answer(ADA, "/performance 7")
            told = await world.answer(OPERATOR, "/weekly_report")
    before_r = ended(pairs, NOW_MS - 14 * DAY_MS, NOW_MS - 7 * DAY_MS)[2]
    assert f"{wins} of {count} signals that ended won" in told
    assert f"{total_r:+.1f} R (before: {before_r:+.1f} R)" in told
    assert telegram.uploads[-1].startswith(b"\x89PNG")


async def the_report_tells(bus: JetStreamBus, api: Api, pairs: list[Pair]) -> None:
    world = ReportWorld(bus, api)
    await world.subscribe("ann", "telegram", "webhook")
    async with world.office() as office:
        await office.make_due()
    message = await bus.last(ALERTS, "alerts.>")
    alert = message.event() if message else None
    assert isinstance(alert, AlertRaised)
    assert alert.report is not None
    now, before = alert.report.now, alert.report.before
    assert (now.outcomes, now.wins, now.total_r) == ended(pairs, DUE.from_ms, DUE.to_ms)
    assert (before.outcomes, before.wins, before.total_r) == ended(pairs, DUE.from_ms - 7 * DAY_MS, DUE.from_ms)
    assert now.signals == sum(DUE.from_ms <= signal.confirmed_ms < DUE.to_ms for signal, _ in pairs)
    assert alert.subscribers == ["ann"]
