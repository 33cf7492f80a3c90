"""A soak of live ingest: 200 symbols at 5,000 trades a second from the local test exchange, for ten minutes.

The exchange, the NATS server and `python -m market_ingest` are processes of their own. At the end the exchange's ledger
is compared with TRADES, symbol by symbol: nothing lost, nothing twice, nothing out of order, no gap announced.

The delay is from the receiving of the frame, before it is parsed (`received_ms`), to the server's time of storing; each
trade counts, by its message. What it leaves out, the wait in the socket while ingest was busy, is in the other one:
from the exchange's own time of a trade. All clocks are this machine's; a busy one is seen in its stalls.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp
import psutil
from tests.exchange import checksum

from bench.ingest import everything
from bench.machine import watched_machine
from bench.report import Figure
from bench.servers import bus_on_fresh_nats
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import FeedChanged, TradesReceived
from tocsin_common.streams import FEEDS, TRADES

MINUTES = int(os.environ.get("TOCSIN_BENCH_MINUTES", "10"))
SYMBOLS = 200
TRADES_PER_S = 5_000
WARM_MINUTES = 2.0
"""Until then memory may grow: caches fill."""

LIMIT_P99_MS = 20.0
LIMIT_GROWTH = 1.10
SETTLED_SAMPLES = 10
"""Memory at a moment is the median of the samples of so many seconds before it."""

PATIENCE_S = 60.0
LOOK_S = 0.1
PAGE_MESSAGES = 20_000
SIDES = {"b": "buy", "s": "sell"}

Ledger = dict[str, dict[str, Any]]
"""Per symbol `count`, `first_id`, `last_id` and `checksum`, as the test exchange answers."""


@dataclass
class Soaked:
    """What came of a soak. `problems`: what is wrong with the trades on the stream, in words; `gaps`: those announced
    without being filled and those filled; delays in ms by how many trades had them; `memory_mib` once a second;
    `cpu`: processor time of ingest as a share of one core."""

    trades: int = 0
    messages: int = 0
    problems: list[str] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)
    from_frame_ms: Counter[int] = field(default_factory=Counter)
    from_exchange_ms: Counter[int] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def memory_at(self, seconds: float) -> float:
        """MiB after so many seconds."""
        end = max(1, round(seconds))
        return median(self.memory_mib[max(0, end - SETTLED_SAMPLES) : end])

    @property
    def memory_at_end(self) -> float:
        return self.memory_at(len(self.memory_mib))


async def measure() -> list[Figure]:
    """Loss, memory and delays of a soak. Raises SystemExit when anything is lost, doubled, out of order or announced
    as a gap: then no other figure counts."""
    async with watched_machine() as stalls:
        soaked = await soak(60 * MINUTES)
    if soaked.problems or soaked.gaps:
        raise SystemExit("\n".join([*soaked.problems, f"gaps announced: {dict(soaked.gaps)}"]))
    warm = soaked.memory_at(min(WARM_MINUTES, MINUTES / 2) * 60)
    figures = [
        Figure("soak: trades, none lost, doubled or out of order", soaked.trades, "trades"),
        Figure("soak: messages they travelled in", soaked.messages, "messages"),
        Figure(f"soak: memory of ingest after {min(WARM_MINUTES, MINUTES / 2):g} minutes", warm, "MiB"),
        Figure(f"soak: memory of ingest after {MINUTES:g} minutes", soaked.memory_at_end, "MiB"),
        Figure("soak: growth of memory between", soaked.memory_at_end / warm, "x", LIMIT_GROWTH, at_least=False),
        Figure("soak: processor time of ingest", soaked.cpu, "cores"),
        Figure("soak: frame received to stored, p50", percentile(soaked.from_frame_ms, 50), "ms"),
        Figure(
            "soak: frame received to stored, p99",
            percentile(soaked.from_frame_ms, 99),
            "ms",
            LIMIT_P99_MS,
            at_least=False,
        ),
        Figure("soak: traded on the exchange to stored, p50", percentile(soaked.from_exchange_ms, 50), "ms"),
        Figure("soak: traded on the exchange to stored, p99", percentile(soaked.from_exchange_ms, 99), "ms"),
    ]
    return [*figures, *stalls.figures()]


async def soak(seconds: float, *, symbols: int = SYMBOLS, trades_per_s: float = TRADES_PER_S) -> Soaked:
    """Let ingest run that long against an exchange that trades, then compare."""
    soaked = Soaked()
    async with bus_on_fresh_nats() as bus, trading(symbols, trades_per_s) as exchange:
        before = await exchange.stopped()
        async with ingesting(bus, exchange) as process:
            await until_connected(bus)
            await exchange.post("_resume")
            await watch(process, seconds, soaked)
            after = await exchange.stopped()
            await compare(bus, before, after, soaked)
        for change in await everything(bus, FEEDS):
            event = change.event()
            if isinstance(event, FeedChanged) and event.state.startswith("gap_"):
                soaked.gaps[event.state] += 1
    return soaked


@dataclass(frozen=True)
class TradingExchange:
    """A running test exchange."""

    session: aiohttp.ClientSession
    described: Mapping[str, Any]

    async def post(self, path: str) -> Ledger:
        async with self.session.post(f"http://{self.described['url']}/{path}") as answer:
            ledger: Ledger = await answer.json()
            return ledger

    async def stopped(self) -> Ledger:
        """End the trading, and tell what happened until then."""
        ledger, earlier = await self.post("_pause"), None
        while ledger != earlier:
            await asyncio.sleep(LOOK_S)
            ledger, earlier = await self.post("_pause"), ledger
        return ledger


@asynccontextmanager
async def trading(symbols: int, trades_per_s: float) -> AsyncIterator[TradingExchange]:
    """A test exchange in a process of its own."""
    arguments = ("--venue", "binance", "--symbols", str(symbols), "--rate", str(trades_per_s), "--port", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.exchange", *arguments, stdout=PIPE, limit=2**20
    )
    assert process.stdout is not None
    try:
        described = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        async with aiohttp.ClientSession() as session:
            yield TradingExchange(session, described)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def ingesting(bus: JetStreamBus, exchange: TradingExchange) -> AsyncIterator[psutil.Process]:
    """The service itself, without history: the test exchange has none."""
    described = exchange.described
    source = {
        "kind": "live",
        "exchanges": {described["venue"]: {"symbols": described["symbols"], "options": described["options"]}},
        "history_candles": 0,
        "reconcile_s": 0,
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    environ |= {
        "TOCSIN__NATS__URL": bus.connection.url,
        "TOCSIN__LOG__LEVEL": "warning",
        "TOCSIN__MARKET_INGEST__SOURCE": json.dumps(source),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "market_ingest", env=environ, stdout=DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until_connected(bus: JetStreamBus) -> None:
    """Wait until the feed says that it hears the exchange. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await bus.stream_state(FEEDS)).messages:  # noqa: ASYNC110 - what changes is on a server
            await asyncio.sleep(LOOK_S)


async def watch(process: psutil.Process, seconds: float, soaked: Soaked) -> None:
    """Note the memory every second."""
    loop = asyncio.get_running_loop()
    started_s, before = loop.time(), process.cpu_times()
    for second in range(1, round(seconds) + 1):
        await asyncio.sleep(started_s + second - loop.time())
        soaked.memory_mib.append(process.memory_info().rss / 2**20)
    now = process.cpu_times()
    soaked.cpu = (now.user + now.system - before.user - before.system) / (loop.time() - started_s)


async def compare(bus: JetStreamBus, before: Ledger, after: Ledger, soaked: Soaked) -> None:
    """Read TRADES until everything the exchange traded between the two ledgers is there, or nothing more comes."""
    loop, reader, read = asyncio.get_running_loop(), bus.reader(TRADES, after=0), 0
    wanted = sum(one["count"] for one in after.values()) - sum(one["count"] for one in before.values())
    symbols = {name: Audit(before.get(name), ledger) for name, ledger in after.items()}
    progressed_s = loop.time()
    while soaked.trades < wanted and loop.time() - progressed_s < PATIENCE_S:
        last = (await bus.stream_state(TRADES)).last_seq
        if last == read:
            await asyncio.sleep(LOOK_S)
            continue
        progressed_s = loop.time()
        read = min(last, read + PAGE_MESSAGES)
        for message in await reader.through(read):
            batch = message.event()
            assert isinstance(batch, TradesReceived)
            symbols[batch.symbol].take(batch)
            rows = len(batch.ts_ms)
            soaked.messages += 1
            soaked.trades += rows
            soaked.from_frame_ms[message.stored_ms - batch.received_ms] += rows
            soaked.from_exchange_ms.update(message.stored_ms - ts_ms for ts_ms in batch.ts_ms)
    await reader.close()
    soaked.problems += [f"{name}: {problem}" for name, audit in symbols.items() for problem in audit.problems()]
    if soaked.trades != wanted:
        soaked.problems.append(f"{soaked.trades} trades on the stream, {wanted} on the exchange")


class Audit:
    """One symbol's trades on the stream against what the exchange says of it."""

    def __init__(self, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        self._next = int(before["last_id"]) + 1 if before else int(after["first_id"])
        self._last = int(after["last_id"])
        self._count = after["count"] - (before["count"] if before else 0)
        self._checksum = (after["checksum"] - (before["checksum"] if before else 0)) % 2**64
        self._found: dict[str, int] = defaultdict(int)

    def take(self, batch: TradesReceived) -> None:
        """The next message of this symbol."""
        columns = (batch.trade_id, batch.ts_ms, batch.price, batch.amount, batch.side)
        for name, ts_ms, price, amount, side in zip(*columns, strict=True):
            number = int(name or -1)
            self._found["missing"] += max(0, number - self._next)
            self._found["again or out of order"] += number < self._next
            self._next = max(self._next, number + 1)
            self._count -= 1
            self._checksum = (self._checksum - checksum(name, ts_ms, price, amount, SIDES.get(side))) % 2**64

    def problems(self) -> list[str]:
        """What differs, in words."""
        found = [f"{trades} {what}" for what, trades in self._found.items() if trades]
        if self._next != self._last + 1:
            found.append(f"the last is {self._next - 1}, not {self._last}")
        if self._count or self._checksum:
            found.append("count or checksum differ")
        return found


def percentile(counted: Mapping[int, int], percent: float) -> float:
    """A percentile of values given with their counts."""
    wanted, seen = sum(counted.values()) * percent / 100, 0
    for value in sorted(counted):
        seen += counted[value]
        if seen >= wanted:
            return float(value)
    return float("nan")
