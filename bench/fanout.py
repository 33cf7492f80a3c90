"""One signal for ten thousand subscribers: how fast the queue is built, how much memory it takes, how fast it is sent.

The service is a process of its own on a real server; a webhook server in this process takes what it sends. The queue is
built when the last piece of work is stored on SEND.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from tests.alerts import a_signal
from tests.channels import WebhookServer

from bench.report import Figure
from bench.servers import bus_on_fresh_nats, scratch
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.streams import ALERT_RULES, ALERTS, SEND, SUBSCRIBERS

SUBSCRIBERS_COUNT, ALLOWED_PER_S = 10_000, 100  # what one host gets by default
WRITERS = 200
LIMIT_BUILD_S, LIMIT_RSS_MIB, LIMIT_USED = 2.0, 500.0, 0.95
LOOK_S = 0.01
PATIENCE_S = 180.0


async def measure() -> list[Figure]:
    """Seconds to build the queue, peak memory of the service, and the rate at which the receiver was asked."""
    async with bus_on_fresh_nats() as bus, scratch() as folder, WebhookServer() as server:
        await write_documents(bus, server.url)
        async with service(bus, folder) as process:
            begun_s = time.monotonic()
            signal = a_signal(time.time_ns() // 1_000_000, timeframe="1m")
            await bus.publish([signal])
            while (await bus.stream_state(SEND)).last_seq < SUBSCRIBERS_COUNT:  # noqa: ASYNC110  nothing announces it
                await asyncio.sleep(LOOK_S)
            built_s = time.monotonic() - begun_s
            await server.wait_for(SUBSCRIBERS_COUNT, timeout_s=PATIENCE_S)
            while (await bus.stream_state(SEND)).messages:  # noqa: ASYNC110  nothing announces it
                await asyncio.sleep(LOOK_S)
            peak_mib = await asyncio.to_thread(peak_memory_mib, process.pid)
        taken = Counter(message.key for message in server.accepted)
        at_s = sorted(message.at_s for message in server.accepted)
    first, last = len(at_s) // 20, len(at_s) - len(at_s) // 20
    rate = (last - first) / (at_s[last - 1] - at_s[first])
    name = f"1 signal, {SUBSCRIBERS_COUNT:,} subscribers"
    return [
        Figure(f"{name}: queue built after", built_s, "s", LIMIT_BUILD_S, at_least=False),
        Figure(f"{name}: peak memory of the service", peak_mib, "MiB", LIMIT_RSS_MIB, at_least=False),
        Figure(f"{name}: sent where {ALLOWED_PER_S} may be", rate, "per s", LIMIT_USED * ALLOWED_PER_S),
        Figure(f"{name}: most in any second", most_in_a_second(at_s), "requests", ALLOWED_PER_S, at_least=False),
        Figure(f"{name}: got it exactly once", sum(count == 1 for count in taken.values()), "", SUBSCRIBERS_COUNT),
    ]


async def write_documents(bus: JetStreamBus, url: str) -> None:
    """A rule and everybody it tells, and a rule that shows that the service is there."""
    names = [f"s{number:05d}" for number in range(SUBSCRIBERS_COUNT)]
    rules = [
        SignalRule(rule_id="all", name="all", subscribers=names, symbols=["BTC/USDT"]),
        SignalRule(rule_id="first", name="first", subscribers=[], symbols=["ETH/USDT"]),
    ]
    for rule in rules:
        await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
    to = [Destination(channel="webhook", address=url)]
    bucket, turns = bus.bucket(SUBSCRIBERS), asyncio.Semaphore(WRITERS)

    async def write(name: str) -> None:
        async with turns:
            await bucket.put(name, encode(Subscriber(subscriber_id=name, name=name, destinations=to)))

    await asyncio.gather(*map(write, names))


@asynccontextmanager
async def service(bus: JetStreamBus, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Alerting, until it is ready and again to its end."""
    config = folder / "tocsin.yaml"
    settings = {
        "nats": {"url": bus.connection.url},
        "log": {"level": "warning"},
        "alerting": {"webhook": {"allow_private": True, "per_host_per_s": ALLOWED_PER_S}},
    }
    await asyncio.to_thread(config.write_text, yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alerting", env={**os.environ, "TOCSIN_CONFIG": str(config)}
    )
    try:
        await bus.publish([a_signal(time.time_ns() // 1_000_000, symbol="ETH/USDT")])
        while not (await bus.stream_state(ALERTS)).messages:  # noqa: ASYNC110  nothing announces it
            await asyncio.sleep(LOOK_S)
        yield process
    finally:
        process.terminate()
        await process.wait()


def peak_memory_mib(pid: int) -> float:
    """The most that was resident at a time (`VmHWM`)."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def most_in_a_second(at_s: list[float]) -> int:
    """The most requests in any second that begins with one."""
    most, first = 0, 0
    for last, moment in enumerate(at_s):
        while moment - at_s[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
