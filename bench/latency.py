"""Latency at real-time pace: 100 symbols, from the trade that closes a candle to the signal and to the webhook request.

A simulated market runs at speed 1 with strategies that fire often. The moment of the closing trade is when ingest
received it (the first trade of an interval after the candle); a candle that closed by the clock instead counts from
the moment it was stored. All clocks are this machine's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from tests.channels import WebhookServer

from bench.ingest import everything
from bench.machine import watched_machine
from bench.report import Figure
from bench.servers import scratch
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.events import AlertRaised, CandlesClosed, SignalRaised, TradesReceived
from tocsin_common.streams import ALERTS, CANDLES, SIGNALS, TRADES

SYMBOLS = [f"S{number:03d}/USDT" for number in range(100)]
MINUTES = int(os.environ.get("TOCSIN_BENCH_MINUTES", "5"))
LIMIT_MS = 100.0
LEAST_SAMPLES = 100


def settings(webhook_url: str) -> dict[str, object]:
    eager = {"min_volume_ratio": 0, "min_break_atr": 0}
    return {
        "market_ingest": {
            "source": {"kind": "simulator", "seed": 7, "speed": 1, "symbols": SYMBOLS, "trades_per_minute": 60}
        },
        "signal_engine": {
            "timeframes": ["1m"],
            "strategies": [
                *(
                    {"name": "ema_cross", "as": f"ema_{slow}", "params": {"fast": 2, "slow": slow, "trend": 20}}
                    for slow in (3, 5)
                ),
                *(
                    {"name": "donchian_breakout", "as": f"donchian_{channel}", "params": {"channel": channel, **eager}}
                    for channel in (5, 8)
                ),
            ],
        },
        "alerting": {"webhook": {"allow_private": True}},
        "seed": {
            "subscribers": [
                {
                    "subscriber_id": "bench",
                    "name": "Bench",
                    "destinations": [{"channel": "webhook", "address": webhook_url}],
                }
            ],
            "alert_rules": [{"kind": "signal", "rule_id": "all", "name": "All", "subscribers": ["bench"]}],
            "portfolios": [{"portfolio_id": "bench"}],
        },
    }


@dataclass(frozen=True)
class Sample:
    """One signal: milliseconds from the closing trade to the stored signal and to the webhook request."""

    to_signal_ms: int
    to_webhook_ms: int


async def measure() -> list[Figure]:
    """p50 and p99 over every signal of a few minutes."""
    async with scratch() as folder, WebhookServer() as webhook, watched_machine(folder) as stalls:
        samples = await run(folder, webhook)
    if len(samples) < LEAST_SAMPLES:
        raise SystemExit(f"only {len(samples)} signals in {MINUTES} minutes; a p99 needs {LEAST_SAMPLES}")
    figures = [Figure("signals measured for latency", len(samples), "signals")]
    for name, values in (
        ("signal", [sample.to_signal_ms for sample in samples]),
        ("webhook", [sample.to_webhook_ms for sample in samples]),
    ):
        p50, p99 = np.percentile(values, [50, 99])
        figures.append(Figure(f"candle-closing trade to {name}, p50", float(p50), "ms"))
        limit = LIMIT_MS if name == "webhook" else None
        figures.append(Figure(f"candle-closing trade to {name}, p99", float(p99), "ms", limit, at_least=False))
    return [*figures, *stalls.figures()]


async def run(folder: Path, webhook: WebhookServer) -> list[Sample]:
    """Let the system run, then join what the streams and the receiver recorded."""
    config, data = folder / "tocsin.yaml", folder / "data"
    await asyncio.to_thread(config.write_text, yaml.safe_dump(settings(webhook.url)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tocsin", "up", "--config", str(config), "--data-dir", str(data)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.sleep(60 * MINUTES)
        described = json.loads(await asyncio.to_thread((data / "run.json").read_text))
        nats = NatsSection(url=described["nats_url"])
        bus = await JetStreamBus.connect(nats, name="bench", stop=asyncio.Event())
        samples = await join(bus, webhook)
        await bus.close()
    finally:
        process.terminate()
        await process.wait()
    return samples


async def join(bus: JetStreamBus, webhook: WebhookServer) -> list[Sample]:
    """One sample per webhook request that can be traced to its candle."""
    requested = {message.raw["data"]["alert_id"]: message.at_ms for message in webhook.accepted}
    alerts = {m.event().cause_id: m.event() for m in await everything(bus, ALERTS)}  # type: ignore[union-attr]
    closing = await closing_times(bus)
    samples = []
    for message in await everything(bus, SIGNALS):
        signal = message.event()
        assert isinstance(signal, SignalRaised)
        alert = alerts.get(signal.signal_id)
        closed_ms = closing.get((signal.exchange, signal.symbol, signal.candle_open_ms))
        if isinstance(alert, AlertRaised) and alert.alert_id in requested and closed_ms is not None:
            samples.append(Sample(message.stored_ms - closed_ms, requested[alert.alert_id] - closed_ms))
    return samples


async def closing_times(bus: JetStreamBus) -> dict[tuple[str, str, int], int]:
    """When each live 1m candle was closed, by (exchange, symbol, open_ms): our clock, ms."""
    first_received: dict[tuple[str, str, int], int] = {}
    for message in await everything(bus, TRADES):
        batch = message.event()
        assert isinstance(batch, TradesReceived)
        for ts_ms in batch.ts_ms:
            key = (batch.exchange, batch.symbol, ts_ms // 60_000 * 60_000 - 60_000)
            first_received.setdefault(key, batch.received_ms)
    closing = {}
    for message in await everything(bus, CANDLES):
        candles = message.event()
        assert isinstance(candles, CandlesClosed)
        if candles.timeframe == "1m" and candles.origin == "trades":
            for open_ms in candles.open_ms:
                key = (candles.exchange, candles.symbol, open_ms)
                closing[key] = min(message.stored_ms, first_received.get(key, message.stored_ms))
    return closing
