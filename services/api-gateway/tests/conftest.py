"""A gateway on real servers, and events to feed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from api_gateway import migrations
from api_gateway.http.app import Parts, create_app
from api_gateway.http.server import listen
from api_gateway.http.server import serve as serve_http
from api_gateway.keys import Keyring
from api_gateway.live import Hub
from api_gateway.metrics import Metrics
from api_gateway.postgres import close_pool, open_pool
from api_gateway.projector import Projector
from api_gateway.rebuild import rebuild
from api_gateway.schema import TABLES
from api_gateway.store import Store
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import (
    AlertRaised,
    AlertSuppressed,
    CandlesClosed,
    DeliveryChanged,
    EquityMarked,
    Event,
    Holding,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    Risk,
    SignalRaised,
    SignalSkipped,
)
from tocsin_common.health import Health
from tocsin_common.metrics import BusMetrics
from tocsin_common.streams import PROJECTED

MINUTE_MS = 60_000
PATIENCE_S = 15.0
READ_TIMEOUT_MS = 2_000


async def wait_until(condition: Callable[[], Any], *, every_s: float = 0.01) -> None:
    """Wait until a condition (plain or async) holds; fails after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(every_s)


RISK = Risk(stop_basis="atr", r=2.0, invalidation=98.0, equity=10_000.0, risk_percent=1.0, size=50.0, leverage_cap=20.0)


class Make:
    """Events with sensible values; every field can be given."""

    @staticmethod
    def candles(first: int, count: int = 1, **fields: Any) -> CandlesClosed:
        prices = [100.0 + n / 7 for n in range(count)]
        columns: dict[str, Any] = {name: list(prices) for name in ("open", "high", "low", "close", "volume")}
        series = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m", "origin": "exchange"}
        return CandlesClosed(open_ms=[(first + n) * MINUTE_MS for n in range(count)], **(series | columns | fields))

    @staticmethod
    def signal(n: int, **fields: Any) -> SignalRaised:
        given: dict[str, Any] = {
            "strategy": "ema_cross",
            "strategy_version": "1",
            "params_hash": "abc",
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "timeframe": "5m",
            "candle_open_ms": n * MINUTE_MS,
            "confirmed_ms": (n + 1) * MINUTE_MS,
            "side": "long",
            "confidence": 70,
            "entry": 100.0,
            "stop": 98.0,
            "targets": [102.0, 104.5],
            "expires_ms": (n + 100) * MINUTE_MS,
            "reasons": ["fast above slow"],
            "features": {"atr": 1.25e-07},
            "definition": "sma_cross",
            "risk": RISK,
        }
        return SignalRaised(**(given | fields))

    @staticmethod
    def outcome(signal: SignalRaised, **fields: Any) -> OutcomeMeasured:
        given: dict[str, Any] = {
            "result": "target_2",
            "ended_ms": signal.confirmed_ms + MINUTE_MS,
            "exit_price": 104.5,
            "r_multiple": 2.25,
            "mfe_r": 2.5,
            "mae_r": -0.25,
            "targets_hit": 2,
            "basis": "trades",
        }
        same = ("signal_id", "strategy", "exchange", "symbol", "timeframe", "side", "confirmed_ms")
        return OutcomeMeasured(**({name: getattr(signal, name) for name in same} | given | fields))

    @staticmethod
    def alert(cause_id: str, **fields: Any) -> AlertRaised:
        given: dict[str, Any] = {
            "alert_id": f"alert-{cause_id}",
            "rule_id": "rule",
            "kind": "signal",
            "cause_id": cause_id,
            "ts_ms": MINUTE_MS,
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "title": "Long BTC/USDT",
            "text": "two\nlines",
            "fields": {"entry": "100"},
            "subscribers": ["ann"],
        }
        return AlertRaised(**(given | fields))

    @staticmethod
    def suppressed(cause_id: str, **fields: Any) -> AlertSuppressed:
        given: dict[str, Any] = {
            "alert_id": f"alert-{cause_id}",
            "rule_id": "rule",
            "cause_id": cause_id,
            "subscriber_id": "bob",
            "ts_ms": MINUTE_MS,
            "reason": "muted",
        }
        return AlertSuppressed(**(given | fields))

    @staticmethod
    def delivery(n: int, state: Any, attempt: int = 0, **fields: Any) -> DeliveryChanged:
        given: dict[str, Any] = {
            "delivery_id": f"delivery{n}",
            "alert_id": f"alert{n}",
            "subscriber_id": "ann",
            "channel": "webhook",
            "state": state,
            "attempt": attempt,
            "at_ms": n * 10_000 + attempt,
        }
        return DeliveryChanged(**(given | fields))

    @staticmethod
    def opened(portfolio: str = "main", **fields: Any) -> PortfolioOpened:
        given: dict[str, Any] = {"n": 1, "ts_ms": 0, "currency": "USDT", "cash": Decimal("10000.00")}
        return PortfolioOpened(portfolio=portfolio, **(given | fields))

    @staticmethod
    def fill(n: int, *, position: str = "p1", amount: str, held: str, pnl: str = "0", **fields: Any) -> OrderFilled:
        given: dict[str, Any] = {
            "portfolio": "main",
            "ts_ms": n * MINUTE_MS,
            "signal_id": f"signal-of-{position}",
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "side": "buy",
            "reason": "entry",
            "price": Decimal("100.050000000000000000000000000001"),
            "market_price": Decimal("100"),
            "fee": Decimal("0.10"),
            "basis": "trade",
            "basis_ref": str(n),
            "position_entry_price": Decimal("100.05"),
            "cash_after": Decimal("9000.123456789012345678901234567890"),
        }
        amounts = {"amount": Decimal(amount), "position_amount": Decimal(held), "realised_pnl": Decimal(pnl)}
        return OrderFilled(n=n, position_id=position, **(given | amounts | fields))

    @staticmethod
    def skip(n: int, signal_id: str, **fields: Any) -> SignalSkipped:
        given = {"portfolio": "main", "ts_ms": n * MINUTE_MS, "reason": "no_cash"} | fields
        return SignalSkipped(n=n, signal_id=signal_id, **given)

    @staticmethod
    def equity(n: int, **fields: Any) -> EquityMarked:
        names = {"position_id": "p1", "exchange": "binance", "symbol": "BTC/USDT"}
        amounts = {"amount": Decimal("1.5"), "mark_price": Decimal("101"), "value": Decimal("151.5")}
        given = {"portfolio": "main", "ts_ms": n * MINUTE_MS, "cash": Decimal("9000.10"), "equity": Decimal("9151.60")}
        return EquityMarked(n=n, holdings=[Holding(**names, **amounts)], **(given | fields))

    def story(self) -> list[Event]:
        """Something of everything: signals ended and active, alerts, deliveries, a portfolio with two positions."""
        signals = [self.signal(n, symbol=f"S{n % 3}/USDT", confidence=50 + n) for n in range(12)]
        first = signals[0].signal_id
        return [
            *(self.candles(n * 10, 10, symbol=f"S{n % 3}/USDT", trades=[n] * 10) for n in range(9)),
            *signals,
            *(self.outcome(signal) for signal in signals[:4]),
            self.outcome(signals[4], result="stop", r_multiple=-1.0),
            self.alert(first),
            self.suppressed(first),
            *(self.delivery(n, "queued") for n in range(5)),
            *(self.delivery(n, "attempting", 1) for n in range(5)),
            *(self.delivery(n, "sent", 1, provider_ref=f"r{n}") for n in range(4)),
            self.delivery(9, "queued", alert_id=f"alert-{first}"),
            self.delivery(9, "sent", 1, alert_id=f"alert-{first}"),
            self.opened(),
            self.fill(2, amount="2", held="2", signal_id=first),
            self.skip(3, signals[1].signal_id),
            self.equity(4),
            self.fill(5, amount="0.5", held="1.5", side="sell", pnl="0.123456789012345678", signal_id=first),
            self.fill(
                6, amount="1.5", held="0", side="sell", pnl="-0.25", signal_id=first, position_entry_price=Decimal(0)
            ),
            self.fill(7, position="p2", amount="1", held="-1", side="sell", signal_id=signals[2].signal_id),
            self.equity(8),
        ]


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture(scope="session")
def migrated_url(postgres_server_url: str) -> str:
    """The URL of one database with every migration applied, for all tests of this package."""
    url = f"{postgres_server_url.rpartition('/')[0]}/gateway"

    async def create() -> None:
        admin = await asyncpg.connect(postgres_server_url)
        await admin.execute("create database gateway")
        await admin.close()
        await migrations.apply(url)

    asyncio.run(create())
    return url


@pytest.fixture
async def database(migrated_url: str) -> str:
    """The URL of a database with every migration applied and every table empty."""
    conn = await asyncpg.connect(migrated_url)
    await conn.execute(f"truncate {', '.join(table.name for table in TABLES)}, projection_offsets")
    await conn.close()
    return migrated_url


@dataclass
class Gateway:
    """A running gateway over HTTP. `url` ends before `/api`."""

    url: str
    bus: Bus
    dsn: str
    metrics: Metrics
    registry: CollectorRegistry
    projector: Projector
    hub: Hub
    keyring: Keyring
    http: aiohttp.ClientSession
    stop: asyncio.Event
    tasks: list[asyncio.Task[None]]

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and decoded JSON of `/api/v1` + path."""
        async with self.http.get(f"{self.url}/api/v1{path}", headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def fill(self, events: Sequence[Event]) -> None:
        """Publish, and project everything there is."""
        await self.bus.publish(events)
        await rebuild(self.bus, self.dsn, progress=lambda *_: None)

    async def stopped(self) -> None:
        """Wait until every part has finished after `stop`."""
        await asyncio.gather(*self.tasks)

    async def projected(self) -> None:
        """Wait until PostgreSQL has everything the streams have."""

        async def caught_up() -> bool:
            ends = {stream.name: (await self.bus.stream_state(stream)).last_seq for stream in PROJECTED}
            return self.projector.positions() == ends

        await wait_until(caught_up)


StartGateway = Callable[..., Any]


@pytest.fixture
async def start_gateway(database: str) -> AsyncIterator[StartGateway]:
    """Start gateways, each with its own parts, on one database; all are stopped in the end."""
    async with AsyncExitStack() as stack:

        async def start(
            bus: Bus, *, bound_host: str = "127.0.0.1", dsn: str = database, project: bool = True
        ) -> Gateway:
            return await _start(stack, bus, dsn, bound_host, project=project)

        yield start


@pytest.fixture
async def gateway(start_gateway: StartGateway, memory_bus: MemoryBus) -> Gateway:
    """A gateway with everything running."""
    started: Gateway = await start_gateway(memory_bus)
    return started


@pytest.fixture
async def reading(start_gateway: StartGateway, memory_bus: MemoryBus) -> Gateway:
    """A gateway that only answers; tests fill PostgreSQL with `fill`."""
    started: Gateway = await start_gateway(memory_bus, project=False)
    return started


async def _start(stack: AsyncExitStack, bus: Bus, dsn: str, bound_host: str, *, project: bool) -> Gateway:
    registry = CollectorRegistry()
    metrics, stop = Metrics(registry), asyncio.Event()
    reads = await open_pool(dsn, size=4, statement_timeout_ms=READ_TIMEOUT_MS)
    writes = await open_pool(dsn, size=6, statement_timeout_ms=10_000)
    stack.push_async_callback(close_pool, reads)
    stack.push_async_callback(close_pool, writes)
    store, hub, keyring = Store(reads), Hub(bus, metrics), Keyring(bus)
    projector = Projector(bus, dsn, writes, metrics, BusMetrics(registry), batch=50)
    health = Health(registry, {"postgres": store.problem, "projector": projector.problem})
    sock, url = listen("127.0.0.1", 0)
    app = create_app(Parts(store, bus, hub, keyring, metrics, health, lambda: projector.state, bound_host))
    work = [keyring.follow(stop), hub.run(stop), serve_http(app, sock, stop)]
    tasks = [asyncio.create_task(part) for part in (*work, *([projector.run(stop)] if project else []))]
    http = await stack.enter_async_context(aiohttp.ClientSession())

    async def shut() -> None:
        stop.set()
        await asyncio.gather(*tasks)

    stack.push_async_callback(shut)
    await keyring.loaded.wait()
    return Gateway(url, bus, dsn, metrics, registry, projector, hub, keyring, http, stop, tasks)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(database)
    yield conn
    await conn.close()
