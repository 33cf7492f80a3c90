"""The bus suite runs against every implementation; `given` makes events for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tocsin.ports import free_port
from tocsin_common import logs
from tocsin_common.bus import provision
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import ClockAdvanced, DeliveryChanged, SendDue, SignalRaised, TradesReceived
from tocsin_common.streams import Durable, Stream


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> None:
    """One line an event: colours and traceback frames take longer than the tests."""
    logs.configure("test", level="error")


@pytest.fixture(params=["memory_bus", "jetstream_bus"])
def bus(request: pytest.FixtureRequest) -> Bus:
    """A fresh bus of each kind."""
    found: Bus = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def purge(bus: Bus) -> Callable[[Stream, int], Awaitable[None]]:
    """Remove a stream's messages below a sequence, as retention does."""

    async def remove(stream: Stream, before: int) -> None:
        if isinstance(bus, MemoryBus):
            bus.purge(stream, before=before)
        elif isinstance(bus, JetStreamBus):
            await bus.connection.api(f"STREAM.PURGE.{stream.name}", {"seq": before})

    return remove


@pytest.fixture
def declare(bus: Bus) -> Callable[[Durable], Awaitable[Durable]]:
    """Declare a durable otherwise than it is declared in `streams`."""

    async def change(durable: Durable) -> Durable:
        if isinstance(bus, JetStreamBus):
            await provision.apply(bus.connection, provision.declared(streams=(), buckets=(), durables=[durable]))
        return durable

    return change


async def eventually(condition: Callable[[], Awaitable[Any]], wait_s: float = 5.0) -> None:
    """Wait until a condition holds: a server settles what it was sent in its own time."""
    deadline = time.monotonic() + wait_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.005)


class Given:
    """Events that differ by a number."""

    eventually = staticmethod(eventually)

    def mark(self, n: int) -> ClockAdvanced:
        return ClockAdvanced(stage="signals", source="test", time_ms=n, trades_seq=n, candles_seq=n)

    def marks(self, count: int, *, start: int = 1) -> list[ClockAdvanced]:
        return [self.mark(n) for n in range(start, start + count)]

    def trades(self, symbol: str, n: int = 1, *, exchange: str = "binance") -> TradesReceived:
        return TradesReceived(
            exchange=exchange,
            symbol=symbol,
            source="test",
            cursor=n,
            received_ms=n,
            ts_ms=[n],
            price=[100.0],
            amount=[1.0],
            side="b",
            trade_id=[str(n)],
        )

    def signal(self, n: int, *, symbol: str = "BTC/USDT") -> SignalRaised:
        return SignalRaised(
            strategy="ema-cross",
            strategy_version="1",
            params_hash="abc",
            exchange="binance",
            symbol=symbol,
            timeframe="1m",
            candle_open_ms=n * 60_000,
            confirmed_ms=(n + 1) * 60_000,
            side="long",
            confidence=70,
            entry=100.0,
            stop=95.0,
            targets=[105.0],
            expires_ms=(n + 60) * 60_000,
            reasons=["crossed"],
        )

    def signals(self, count: int, *, start: int = 1) -> list[SignalRaised]:
        return [self.signal(n) for n in range(start, start + count)]

    def delivery(self, n: int, *, attempt: int = 0) -> DeliveryChanged:
        state = "attempting" if attempt else "queued"
        return DeliveryChanged(
            delivery_id=f"d{n}",
            alert_id="a",
            subscriber_id="s",
            channel="console",
            state=state,
            attempt=attempt,
            at_ms=1,
        )

    def send(self, n: int) -> SendDue:
        return SendDue(
            delivery_id=f"d{n}",
            alert_id="a",
            subscriber_id="s",
            channel="console",
            title="t",
            text="x",
            fields={},
            ts_ms=1,
            queued_ms=1,
            deadline_ms=2,
        )


@pytest.fixture
def unused_port() -> int:
    """A port of loopback that nobody uses at the moment."""
    return free_port()


@pytest.fixture
def given() -> Given:
    return Given()
