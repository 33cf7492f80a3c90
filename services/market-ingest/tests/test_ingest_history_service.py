"""The service as a process, a live exchange and a real server: warm from the first minute, and it answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.exchange import BinanceExchange

from market_ingest.history.paging import SETTLED_MS
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import CandlesClosed
from tocsin_common.requests import HISTORY, HistoryRequest
from tocsin_common.streams import CANDLES, QUOTES, TICKERS

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
PATIENCE_S = 90.0
BTC = "BTC/USDT"


def live(nats_url: str, exchange: BinanceExchange) -> AbstractAsyncContextManager[None]:
    binance = {"symbols": [BTC], "also": ["quotes", "tickers"], "options": exchange.options()}
    return service(nats_url, {"kind": "live", "exchanges": {"binance": binance}, "history_candles": 90})


@asynccontextmanager
async def service(nats_url: str, source: dict[str, object]) -> AsyncIterator[None]:
    environ = {
        **os.environ,
        "TOCSIN__NATS__URL": nats_url,
        "TOCSIN__MARKET_INGEST__SOURCE": json.dumps(source),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "market_ingest", env=environ, stderr=PIPE)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        await asyncio.sleep(0.05)


async def history(bus: JetStreamBus, timeframe: str) -> list[CandlesClosed]:
    messages = await bus.page(CANDLES, f"market.candles.*.binance.BTC-USDT.{timeframe}")
    events = [event for message in messages if isinstance(event := message.event(), CandlesClosed)]
    return [event for event in events if event.origin == "history"]


async def test_a_live_exchange_brings_its_past_answers_for_it_and_tells_quotes(
    jetstream_bus: JetStreamBus, nats_url: str
) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with BinanceExchange([BTC]) as exchange:
        for n in range(3 * 180):
            await exchange.trade(BTC, f"{100 + n % 37}.5", "0.5", ts_ms=now_ms - (3 * 180 - n) * 20_000)
        async with live(nats_url, exchange):
            await exchange.until_subscribed(BTC, timeout_s=PATIENCE_S)
            seam_ms = (await exchange.trade(BTC, "123.5", "0.5")).ts_ms // MINUTE_MS * MINUTE_MS

            async def is_complete() -> bool:
                found, hours = await history(jetstream_bus, "1m"), await history(jetstream_bus, "1h")
                return bool(found and hours) and found[-1].open_ms[-1] == seam_ms - MINUTE_MS

            await until(is_complete)
            opens = [open_ms for event in await history(jetstream_bus, "1m") for open_ms in event.open_ms]
            assert opens == list(range(opens[0], seam_ms, MINUTE_MS))
            assert 88 <= len(opens) <= 90
            assert len((await history(jetstream_bus, "1h"))[0].open_ms) in (2, 3)
            settled_ms = (time.time_ns() // 1_000_000 - SETTLED_MS) // MINUTE_MS * MINUTE_MS
            to_ms = min(settled_ms, seam_ms)  # our own first minute lacks the trades before we listened
            question = HistoryRequest(
                exchange="binance", symbol=BTC, timeframe="1m", from_ms=to_ms - 2 * HOUR_MS, to_ms=to_ms
            )
            reply = await jetstream_bus.request(HISTORY, question, timeout_s=20)
            ledger = {c.open_ms: c for c in exchange.ledger.candles(BTC, "1m", to_ms)}

            async def is_quoted() -> bool:
                await exchange.trade(BTC, "123.5", "0.5")
                told = [await jetstream_bus.last(stream, stream.subjects[0]) for stream in (QUOTES, TICKERS)]
                return all(told)

            await until(is_quoted)
    assert reply.open_ms == list(range(question.from_ms, to_ms, MINUTE_MS))
    assert reply.close == [float(ledger[open_ms].close) for open_ms in reply.open_ms]
    assert reply.volume == [float(ledger[open_ms].volume) for open_ms in reply.open_ms]


async def test_a_simulated_market_answers_with_what_is_on_the_stream(
    jetstream_bus: JetStreamBus, nats_url: str
) -> None:
    async with service(nats_url, {"kind": "simulator", "seed": 7, "speed": 60, "symbols": [BTC]}):

        async def is_stored() -> bool:
            return await jetstream_bus.last(CANDLES, "market.candles.*.*.BTC-USDT.1h") is not None

        await until(is_stored)
        message = await jetstream_bus.last(CANDLES, "market.candles.*.*.BTC-USDT.1h")
        assert message is not None
        event = message.event()
        assert isinstance(event, CandlesClosed)
        end_ms = event.open_ms[-1] + HOUR_MS
        from_ms = event.open_ms[0] - 500 * HOUR_MS  # before there was anything
        asked = HistoryRequest(
            exchange=event.exchange, symbol=BTC, timeframe="1h", from_ms=from_ms, to_ms=end_ms, limit=10_000
        )
        reply = await jetstream_bus.request(HISTORY, asked, timeout_s=20)
    assert reply.open_ms[-len(event.open_ms) :] == event.open_ms
    assert reply.close[-len(event.open_ms) :] == event.close
