"""Price rules under load: 100,000 levels, 20,000 trades a second, from the trade to the work that is due.

The intake of alerting reads TRADES from a real server in this process; another process publishes trades of 200
instruments at an even pace. A trade's way begins when the server has stored it, and ends when the ledger of the
delivery it caused is stored.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from alerting.directory import Directory
from alerting.intake import Intake
from alerting.judging.audience import Doorkeeper
from alerting.metrics import Metrics
from alerting.pipeline import Pipeline
from bench.ingest import everything
from bench.report import Figure
from bench.servers import bus_on_fresh_nats
from tocsin_common.bus.consume import Loop, consume_in_order
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.documents import Destination, PriceRule, Subscriber
from tocsin_common.events import AlertRaised, TradesReceived
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import ALERTING_TRADES, ALERTS, DELIVERIES, TRADES

RULES, SYMBOLS = 100_000, [f"S{number:03d}/USDT" for number in range(200)]
TRADES_PER_S, PER_MESSAGE, TICK_S = 20_000, 4, 0.01
WARM_S, SECONDS = 1.0, 10.0
STEP = 1e-5
"""Relative size of a price's steps: some 15 alerts a second follow."""

LIMIT_CORE, LIMIT_MS = 0.5, 20.0


async def measure() -> list[Figure]:
    """Processor time of the intake, and p50 and p99 of the way from trade to due work."""
    async with bus_on_fresh_nats() as bus:
        intake = await watching(bus)
        stop = asyncio.Event()
        loop = Loop(bus, bus.consumer(ALERTING_TRADES), "bench", stop, BusMetrics(CollectorRegistry()).loop("bench"))
        consuming = asyncio.create_task(consume_in_order(loop, intake.handle))
        publisher = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.levels", bus.connection.url)
        await asyncio.sleep(WARM_S + SECONDS / 4)
        cpu_s, clock_s = time.process_time(), time.monotonic()
        await asyncio.sleep(SECONDS / 2)
        core = (time.process_time() - cpu_s) / (time.monotonic() - clock_s)
        await publisher.wait()
        await asyncio.sleep(WARM_S)
        stop.set()
        await consuming
        took = await ways(bus)
        published = (await bus.stream_state(TRADES)).messages * PER_MESSAGE / (WARM_S + SECONDS)
    name = f"{RULES:,} price rules"
    p50, p99 = np.percentile(took, [50, 99])
    return [
        Figure(f"{name}: trades published", published, "trades/s", 0.95 * TRADES_PER_S),
        Figure(f"{name}: alerts", len(took) / (WARM_S + SECONDS), "alerts/s"),
        Figure(f"{name}: processor time", core, "of a core", LIMIT_CORE, at_least=False),
        Figure(f"{name}: trade to due work, p50", float(p50), "ms"),
        Figure(f"{name}: trade to due work, p99", float(p99), "ms", LIMIT_MS, at_least=False),
    ]


async def watching(bus: JetStreamBus) -> Intake:
    """An intake of trades whose rules watch levels within 20 % of 100, evenly, and re-arm."""
    metrics = Metrics(CollectorRegistry())
    directory = Directory(bus, metrics)
    here = Destination(channel="console", address="here")
    directory.subscribers["bench"] = Subscriber(subscriber_id="bench", name="Bench", destinations=[here])
    for number in range(RULES):
        symbol, level = SYMBOLS[number % len(SYMBOLS)], 80 + 40 * number / RULES
        rule = PriceRule(
            rule_id=f"r{number}",
            name="r",
            subscribers=["bench"],
            exchange="x",
            symbol=symbol,
            level=level,
            rearm_percent=0.01,
        )
        directory.rules.put(rule)
    for symbol in SYMBOLS:
        directory.rules.levels_of(("x", symbol))  # sorted at the first trade otherwise, some ms each
    pipeline = Pipeline(Doorkeeper(directory.subscribers, directory.silences), ttl_ms=60_000)
    intake = Intake(bus, ALERTING_TRADES, directory.rules, pipeline, metrics, lambda *_: None)
    await intake.start()
    return intake


async def ways(bus: JetStreamBus) -> list[int]:
    """Milliseconds from when each trade that rang, after the start, was stored to its delivery's ledger."""
    stored_ms = {}
    for message in await everything(bus, TRADES):
        batch = message.event()
        assert isinstance(batch, TradesReceived)
        stored_ms[batch.symbol, batch.ts_ms[0]] = message.stored_ms
    alerts = [message.event() for message in await everything(bus, ALERTS)]
    begun_ms = {a.alert_id: stored_ms[a.symbol, a.ts_ms] for a in alerts if isinstance(a, AlertRaised)}
    first_ms = min(stored_ms.values()) + 1000 * WARM_S
    opened = [(message.stored_ms, message.event().alert_id) for message in await everything(bus, DELIVERIES)]  # type: ignore[union-attr]
    return [end_ms - begun_ms[alert_id] for end_ms, alert_id in opened if begun_ms[alert_id] >= first_ms]


async def publish(url: str) -> None:
    """Trades at an even pace, until the time is over."""
    bus = await JetStreamBus.connect(NatsSection(url=url), name="bench-trades", stop=asyncio.Event())
    random, prices = np.random.default_rng(7), np.full(len(SYMBOLS), 100.0)
    begun, cursor = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - begun) < WARM_S + SECONDS:
        messages = int(elapsed_s * TRADES_PER_S / PER_MESSAGE) - cursor
        events = [trades(number, prices, random) for number in range(cursor, cursor + messages)]
        await bus.publish(events)
        cursor += messages
        await asyncio.sleep(TICK_S)
    await bus.close()


def trades(number: int, prices: NDArray[np.float64], random: np.random.Generator) -> TradesReceived:
    """The next trades of one instrument, each a step from the last."""
    place, now_ms = number % len(SYMBOLS), time.time_ns() // 1_000_000
    column = prices[place] * np.cumprod(1 + random.normal(0, STEP, PER_MESSAGE))
    prices[place] = column[-1]
    return TradesReceived(
        exchange="x",
        symbol=SYMBOLS[place],
        source="bench",
        cursor=number,
        received_ms=now_ms,
        ts_ms=[now_ms] * PER_MESSAGE,
        price=column.tolist(),
        amount=[1.0] * PER_MESSAGE,
        side="b" * PER_MESSAGE,
        trade_id=[f"{number}-{row}" for row in range(PER_MESSAGE)],
    )


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1]))
