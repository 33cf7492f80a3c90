"""What a lost connection still brings while it closes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.exchange import BinanceExchange

from market_ingest.config import ExchangeSettings
from market_ingest.sources.live.connection import Connection
from market_ingest.sources.live.exchange import known_exchanges, open_exchange

SYMBOL = "BTC/USDT"
PATIENCE_S = 60.0


@dataclass
class Listening:
    """Repeats, at the moment of the loss and a little later, the last frame that brought a trade."""

    frames: list[Any] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    collected: list[Any] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def arrived(self) -> None:
        self.changed.set()

    def connected(self, connection: Connection) -> None:
        self.told.append("connected")
        self.changed.set()

    def lost(self, connection: Connection, state: str, reason: str) -> None:
        [client] = connection._exchange.clients.values()
        connection.collect()
        loop, handle, frame = asyncio.get_running_loop(), client.handle_message, self.frames[-1]

        def still_brings() -> None:
            handle(frame)
            self.told.append("brought")
            self.collected += connection.collect()
            self.changed.set()

        self.told.append("lost")
        loop.call_soon(still_brings)

    def in_doubt(self, connection: Connection, reason: str, detail: str) -> None:
        raise AssertionError(detail)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def test_a_lost_connection_brings_nothing_more_and_does_not_live_again() -> None:
    await known_exchanges()
    listening = Listening()
    async with BinanceExchange([SYMBOL]) as exchange:
        settings = ExchangeSettings(symbols=[SYMBOL], options=exchange.options())
        rest = open_exchange("binance", settings)
        await rest.load_markets()

        def opened() -> Any:
            ours = open_exchange("binance", settings)
            ours.set_markets_from_exchange(rest)
            return ours

        connection = Connection(opened, [SYMBOL], listening)
        running = asyncio.create_task(connection.run())
        try:
            await exchange.until_subscribed(SYMBOL, timeout_s=PATIENCE_S)
            [client] = connection._exchange.clients.values()
            guarded = client.handle_message

            def noted(message: Any) -> None:
                guarded(message)
                if "trade" in str(message.data):
                    listening.frames.append(message)

            client.handle_message = noted
            await exchange.trade(SYMBOL, 64_000, "0.1")
            await listening.until(lambda: listening.frames)
            client.handle_message = guarded
            connection.replace("it brings nothing")
            await listening.until(lambda: listening.told.count("connected") == 2)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await rest.close()
    assert listening.told[:3] == ["connected", "lost", "brought"]
    assert listening.collected == []
